import torch

from seg_scse.data.standardize import MIN_STD, Standardizer


def test_bytes_and_their_fractions_standardise_to_the_same():
    images = torch.randint(0, 256, (2, 5, 6, 7), dtype=torch.uint8)
    standardize = Standardizer([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.25, 0.2, 0.1, 1.0])
    floats = images.float() / 255
    kept = floats.clone()
    torch.testing.assert_close(standardize(images), standardize(floats))
    assert torch.equal(floats, kept)  # the caller's tensor is not changed
    expected = (floats - torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]).view(1, -1, 1, 1)) / standardize.std
    torch.testing.assert_close(standardize(floats), expected)


def test_channels_last_floats_are_not_changed_either():
    floats = torch.rand(2, 4, 6, 7).to(memory_format=torch.channels_last)
    kept = floats.clone()
    standardized = Standardizer([0.5] * 4, [0.1] * 4)(floats)
    assert torch.equal(floats, kept)
    assert standardized.is_contiguous(memory_format=torch.channels_last)


def test_a_constant_channel_stays_finite():
    images = torch.full((1, 1, 3, 3), 7, dtype=torch.uint8)
    assert Standardizer([7 / 255], [0.0])(images).abs().max() < 1e-3 / MIN_STD


def test_the_layout_does_not_change_the_values():
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8).to(memory_format=torch.channels_last)
    rows = Standardizer([0.5] * 3, [0.1] * 3, channels_last=False)(images)
    assert rows.is_contiguous()
    assert torch.equal(rows, Standardizer([0.5] * 3, [0.1] * 3)(images))
