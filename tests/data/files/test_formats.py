"""Each format against each defect: what comes out is also the table of docs/formats.md."""

import os
from pathlib import Path

import numpy as np
import pytest

from seg_scse.data.files.reading import read_raster
from seg_scse.errors import DataError

from .drawn_files import DRAWN

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"
LIMIT = 10**6


def row(kind: str) -> str:
    drawn = DRAWN[kind]
    flipped = "refused" if drawn.flip else "not noticed: no checksum"
    return f"| {kind} | {drawn.reader} | refused | {flipped} | refused before decoding |"


@pytest.mark.parametrize("kind", DRAWN)
def test_pixels_are_those_of_the_library_bit_by_bit(tmp_path, kind):
    drawn = DRAWN[kind]
    path = drawn.draw(tmp_path / f"a{drawn.suffix}")
    pixels, expected = read_raster(path, LIMIT, drawn.plane).pixels, drawn.read(path)
    assert pixels.dtype == expected.dtype
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("kind", DRAWN)
def test_cut_files_are_refused(tmp_path, kind, share):
    drawn = DRAWN[kind]
    data = drawn.draw(tmp_path / f"whole{drawn.suffix}").read_bytes()
    path = tmp_path / "cut.img"
    path.write_bytes(data[: min(int(len(data) * share), len(data) - 1)])
    reason = "the TIFF file is cut off|not a PNG" if "TIFF" in kind else "Get the file again|not a PNG|without pixels"
    with pytest.raises(DataError, match=rf"cut\.img: .*({reason})"):
        read_raster(path, LIMIT, drawn.plane)


@pytest.mark.parametrize("kind", [kind for kind in DRAWN if DRAWN[kind].flip])
def test_a_changed_bit_is_noticed_where_the_format_has_checksums(tmp_path, kind):
    drawn = DRAWN[kind]
    path = drawn.draw(tmp_path / f"a{drawn.suffix}")
    sound, expected = path.read_bytes(), read_raster(path, LIMIT, drawn.plane).pixels
    refused = 0
    for number, at in enumerate(range(len(sound) // 3, len(sound) * 9 // 10, len(sound) // 20)):
        data = bytearray(sound)
        data[at] ^= 4
        changed = tmp_path / f"{number}{drawn.suffix}"
        changed.write_bytes(data)
        try:
            assert np.array_equal(read_raster(changed, LIMIT, drawn.plane).pixels, expected)  # in what nobody reads
        except DataError:
            refused += 1
    assert refused >= 8


@pytest.mark.parametrize("kind", DRAWN)
def test_size_limits_come_before_decoding(tmp_path, kind):
    drawn = DRAWN[kind]
    path = drawn.draw(tmp_path / f"a{drawn.suffix}")
    with pytest.raises(DataError, match=r"more than (16 times )?data\.max_pixels=100\. Raise data\.max_pixels"):
        read_raster(path, 100, drawn.plane)


@pytest.mark.parametrize("name", [b"b\xff\n", b"what?a#b%20", b" -a'\"", b"vsicurl"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF, tiled, deflate", "NPY", "NIfTI, gzip", "DICOM"])
def test_names_mean_nothing(tmp_path, kind, name):
    drawn = DRAWN[kind]
    source = drawn.draw(tmp_path / f"a{drawn.suffix}")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b".png"))
    expected = read_raster(source, LIMIT, drawn.plane).pixels
    source.rename(path)
    assert np.array_equal(read_raster(path, LIMIT, drawn.plane).pixels, expected)


@pytest.mark.parametrize("name", ["/vsicurl/http://127.0.0.1:9/a.tif", "http://127.0.0.1:9/a.tif", "GTIFF_DIR:1:a.tif"])
def test_names_that_gdal_would_follow_are_names_of_files(name):
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        read_raster(Path(name), LIMIT)


@pytest.mark.parametrize("kind", DRAWN)
def test_the_page_has_the_row_of_the_table(kind):
    assert row(kind) in PAGE.read_text().splitlines()
