"""Where extracted archives, drawn data sets and decoded samples are kept: all of it can be deleted and made again."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.data.names import shown
from seg_scse.errors import WriteError


def cache_folder(config: DataConfig) -> Path:
    """Return `data.cache`, else `$SEG_SCSE_CACHE`, else `$XDG_CACHE_HOME/seg_scse`, else `~/.cache/seg_scse`."""
    named = config.cache or os.environ.get("SEG_SCSE_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "seg_scse"


def cannot_write(path: Path, error: OSError) -> WriteError:
    """Turn a failure to write into the cache into an error that names the cure."""
    reason = error.strerror or str(error)
    return WriteError(
        f"{shown(path)}: the cache cannot be written ({reason}). Choose another folder with data.cache=FOLDER."
    )


@contextmanager
def complete_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` when the block succeeds and vanishes when it fails.

    Another process that finishes first wins; its folder has the same content.

    Raises:
        WriteError: the cache cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield temporary
        try:
            temporary.rename(target)
        except OSError as error:
            if not target.is_dir():
                raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
