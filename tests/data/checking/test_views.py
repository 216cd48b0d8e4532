from pathlib import Path

import numpy as np
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking import views as module
from seg_scse.data.checking.tally import Pair, count_everything
from seg_scse.data.checking.views import BINS, SIDE, View, choose_samples, make_views, problem_view
from seg_scse.data.entries import Entry
from seg_scse.data.listing.listing import list_samples
from seg_scse.data.measuring import measure

from .facts import pair
from .unlabelled import draw_bands, draw_pictures


def read(root: Path, **data: object) -> tuple[list[Pair], list[View], DataConfig]:
    config = DataConfig.model_validate({"root": str(root), "mask": {"encoding": "binary"}, **data})
    samples = list_samples(config).samples
    entries = measure(samples, config, False)
    pairs = [(s, e) for s, e in zip(samples, entries, strict=True) if isinstance(e, Entry)]
    return pairs, make_views(pairs, count_everything(pairs, config).bands, config), config


def test_samples_are_chosen_from_every_split_and_class() -> None:
    pairs = [pair(f"a{i}", "train", class_pixels={0: 10, 1: 10}) for i in range(500)]
    pairs += [pair(f"r{i}", "train", class_pixels={0: 10, 2: 10}) for i in range(2)]
    pairs += [pair("t", "test", class_pixels={0: 20})]
    chosen = choose_samples(pairs, 10)
    ids = {sample.id for sample, _ in chosen}
    assert len(chosen) == len(ids) == 10
    assert {"r0", "r1", "t"} <= ids
    assert chosen == choose_samples(list(reversed(pairs)), 10), "the same ones at every call"


def test_all_samples_are_chosen_where_there_are_few() -> None:
    assert len(choose_samples([pair("a"), pair("b")])) == 2
    assert choose_samples([]) == []


def test_small_images_are_kept_as_they_are(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 3)
    pairs, views, _ = read(root)
    assert [view.sample.id for view in views] == ["p00", "p01", "p02"]
    pixels = np.asarray(Image.open(root / "images" / "p01.png"))
    assert np.array_equal(views[1].rgb, pixels)
    assert views[1].labels is not None
    assert views[1].labels[0].tolist() == [0] * 20 + [1] * 20
    assert views[1].counts.shape == (3, BINS)
    assert views[1].counts.sum(axis=1).tolist() == [32 * 40] * 3
    tops = [(pixels[..., band] == max(e.maxima[band] for _, e in pairs)).sum() for band in range(3)]
    assert views[1].top.tolist() == tops


def test_large_images_are_made_small_without_new_classes(tmp_path: Path) -> None:
    for name, mode, value in (("images", "RGB", (9, 9, 9)), ("masks", "L", 0)):
        (tmp_path / name).mkdir()
        image = Image.new(mode, (900, 500), value)
        image.paste(Image.new(mode, (450, 500), (250, 250, 250) if mode == "RGB" else 255), (0, 0))
        image.save(tmp_path / name / "a.png")
    _, (view,), _ = read(tmp_path)
    assert view.rgb.shape == (107, SIDE, 3)
    assert view.labels is not None
    assert view.labels.shape == (107, SIDE)
    assert np.unique(view.labels).tolist() == [0, 1]
    assert (view.shape, view.cropped) == ((500, 900), False)


def test_of_a_huge_image_the_middle_is_shown(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_WINDOW", 16)
    root = draw_pictures(tmp_path, 1)
    _, (view,), _ = read(root)
    assert view.cropped
    assert np.array_equal(view.rgb, np.asarray(Image.open(root / "images" / "p00.png"))[8:24, 12:28])
    assert view.pixels == 256


def test_no_more_is_read_than_is_affordable(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_MOST_PIXELS", 3000)
    assert len(read(draw_pictures(tmp_path, 9))[1]) == 3


def test_other_bands_are_brightened_and_named_colours_come_first(tmp_path: Path) -> None:
    root = draw_bands(tmp_path, "uint16", 4, 900)
    bands = ["nir", "blue", "green", "red"]
    _, views, _ = read(root, bands=bands, scale={"method": "percentile"})
    assert views[0].rgb.max() == 255
    _, turned, _ = read(root, bands=["blue", "nir", "red", "green"], scale={"method": "percentile"})
    assert not np.array_equal(views[0].rgb, turned[0].rgb)
    assert views[0].counts.shape == (4, BINS)


def test_pixels_without_data_are_shown_as_ignored(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 1)
    pixels = np.asarray(Image.open(root / "images" / "p00.png")).copy()
    pixels[:4] = 77
    Image.fromarray(pixels).save(root / "images" / "p00.png")
    _, (view,), _ = read(root, nodata=77)
    assert view.labels is not None
    assert (view.labels[:4] == 255).all()
    assert view.pixels == 28 * 40


def test_images_of_problems_are_shown_where_they_can_be_read(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 2)
    (root / "images" / "p01.png").write_bytes(b"")
    config = DataConfig(root=str(root))
    first, second = list_samples(config).samples
    view = problem_view(first, config)
    assert view is not None
    assert view.labels is None
    assert view.rgb.shape == (32, 40, 3)
    assert problem_view(second, config) is None
