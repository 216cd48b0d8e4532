"""Downloads from the test server that must succeed or fail."""

import hashlib
import os
from pathlib import Path

import pytest

from seg_scse.data.sets.download import Known, Patience, download
from seg_scse.errors import DataError

from .web_server import Server

DATA = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(timeout=0.5, tries=3, pause=0.0)


def fetched(server: Server, target: Path, *answers, known: Known | None = None, patience: Patience = QUICK) -> bytes:
    server.answers = list(answers)
    assert download(server.url(), target, known, patience) == target
    assert [path.name for path in target.parent.iterdir()] == [target.name], "nothing is left beside it"
    return target.read_bytes()


def refused(server: Server, target: Path, *answers, known: Known | None = None) -> str:
    """Return the message of a download that must fail and leave no file under the target's name."""
    server.answers = list(answers)
    with pytest.raises(DataError) as caught:
        download(server.url(), target, known, QUICK)
    assert not target.exists()
    assert server.url() in str(caught.value)
    return str(caught.value)
