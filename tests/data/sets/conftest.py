"""What tests of getting data sets share."""

import pytest

from .web_server import running_server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "data.zip"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        yield running
