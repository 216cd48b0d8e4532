import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import JPEGLosslessSV1

from seg_scse.data.files import dicom
from seg_scse.data.files.pictures import file_sample
from seg_scse.data.files.raster import Place
from seg_scse.data.files.reading import read_place, read_raster
from seg_scse.errors import DataError

from .drawn_files import COLOURS, VOXELS, read_picture, save_dicom
from .test_reading import GRAY

LIMIT = 10**6
STORED = VOXELS[..., 0]


def read(path: Path) -> np.ndarray:
    return read_raster(path, LIMIT).pixels[..., 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32])
def test_stored_values_are_kept(tmp_path, dtype):
    pixels = np.abs(STORED).astype(dtype)
    raster = read_raster(save_dicom(tmp_path / "a.dcm", pixels), LIMIT)
    assert (raster.kind, raster.format, raster.pixels.dtype) == ("gray", "DICOM", dtype)
    assert np.array_equal(raster.pixels[..., 0], pixels)


def test_slope_and_intercept_are_those_of_pydicom(tmp_path):
    path = save_dicom(tmp_path / "a.dcm", RescaleSlope="1.5", RescaleIntercept="-1024")
    expected = apply_modality_lut(STORED, pydicom.dcmread(path))
    assert read(path).dtype == np.float32
    assert np.array_equal(read(path), expected.astype(np.float32))


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint16, 12), (np.uint8, 8), (np.int16, 16)])
def test_monochrome1_is_turned_within_its_bits(tmp_path, dtype, bits):
    pixels = (np.abs(STORED) % 256).astype(dtype)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": bits, "HighBit": bits - 1}
    low, high = (0, 2**bits - 1) if dtype is not np.int16 else (-(2**15), 2**15 - 1)
    assert np.array_equal(read(save_dicom(tmp_path / "a.dcm", pixels, **tags)), low + high - pixels.astype(int))


def test_monochrome1_is_turned_before_it_is_rescaled(tmp_path):
    tags = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "2", "RescaleIntercept": "10"}
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(read(save_dicom(tmp_path / "a.dcm", pixels, **tags)), 2.0 * (255 - pixels) + 10)


def test_rgb_is_colour(tmp_path):
    raster = read_raster(save_dicom(tmp_path / "a.dcm", COLOURS), LIMIT)
    assert raster.kind == "colour"
    assert np.array_equal(raster.pixels, COLOURS)


def test_ybr_becomes_the_rgb_of_pydicom(tmp_path):
    path = save_dicom(tmp_path / "a.dcm", COLOURS, PhotometricInterpretation="YBR_FULL")
    expected = pixel_array(path)
    assert not np.array_equal(expected, COLOURS)
    assert np.array_equal(read_raster(path, LIMIT).pixels, expected)


def test_padding_is_no_data(tmp_path):
    pixels = np.array([[1, 2, 3], [4, 5, 6]], np.int16)
    path = save_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=4, RescaleSlope="2", RescaleIntercept="0")
    assert read_raster(path, LIMIT).valid.tolist() == [[True] * 3, [False, True, True]]
    path = save_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=5, PixelPaddingRangeLimit=2)
    assert read_raster(path, LIMIT).valid.tolist() == [[True, False, False], [False, False, True]]


def test_the_size_of_pixels_is_their_place(tmp_path):
    path = save_dicom(tmp_path / "a.dcm", PixelSpacing=[0.5, 0.25])
    assert read_place(path) == read_raster(path, LIMIT).place == Place(None, None, (0.5, 0.25), "mm")
    assert read_place(save_dicom(tmp_path / "b.dcm")) is None


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 3}, "a multi-frame DICOM file of 3 frames, which is not read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "a DICOM file of PALETTE COLOR with 1 values per pixel"),
        ({"ModalityLUTSequence": []}, "a table of its values"),
        ({"BitsAllocated": 1}, "1 bit per pixel"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path, tags, reason):
    with pytest.raises(DataError, match=rf"a\.dcm: is .*{reason}"):
        read(save_dicom(tmp_path / "a.dcm", **tags))


def test_bits_beyond_the_stored_ones_are_never_values(tmp_path, monkeypatch):
    pixels = np.array([[5, 0x1005]], np.uint16)  # an overlay in bit 12
    path = save_dicom(tmp_path / "a.dcm", pixels, BitsStored=12, HighBit=11)
    assert read(path).tolist() == [[5, 5]]
    monkeypatch.setattr(dicom, "_stored", lambda *_: pixels)  # pydicom before 3 leaves them in
    with pytest.raises(DataError, match=r"a\.dcm: is a DICOM file with values beyond its 12 stored bits \(an overlay"):
        read(path)


def test_a_useless_slope_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.dcm: has the rescale slope 0 and intercept 5"):
        read(save_dicom(tmp_path / "a.dcm", RescaleSlope="0", RescaleIntercept="5"))


def test_a_compression_without_decoder_is_named(tmp_path):
    path = save_dicom(tmp_path / "a.dcm")
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([STORED.tobytes()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"a\.dcm: its pixels \(JPEG Lossless.*cannot be decoded by pydicom"):
        read(path)


def test_grey_dicom_is_a_grey_picture(tmp_path):
    pixels, valid, facts = read_picture(file_sample(save_dicom(tmp_path / "a.dcm")), GRAY)
    assert np.array_equal(pixels[..., 0], STORED)
    assert (valid, facts) == (None, ())


def test_without_pydicom_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = save_dicom(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r'DICOM is read by pydicom.*pip install "seg-scse\[medical\]"'):
        read(path)
