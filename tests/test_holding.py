from pathlib import Path

import pytest

from seg_scse.errors import WriteError
from seg_scse.holding import alone, hold


def test_a_file_is_held_by_one_at_a_time_until_it_is_closed(tmp_path: Path) -> None:
    first = hold(tmp_path / "a" / "x.lock")
    assert first is not None
    assert hold(tmp_path / "a" / "x.lock") is None
    with alone(tmp_path / "a" / "x.lock") as held:
        assert not held
    first.close()
    again = hold(tmp_path / "a" / "x.lock")
    assert again is not None
    again.close()


def test_files_are_held_independently(tmp_path: Path) -> None:
    with alone(tmp_path / "x.lock") as first, alone(tmp_path / "y.lock") as second:
        assert first
        assert second


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        hold(tmp_path / "file" / "x.lock")
