import importlib.metadata
import json

import pytest
import torch

from seg_scse import provenance


def test_environment_holds_what_can_change_a_number_as_plain_values() -> None:
    facts = provenance.environment(torch.device("cpu"))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0] or "+" in facts["versions"]["torch"]
    assert facts["threads"] == torch.get_num_threads()
    assert facts["created"].endswith("+00:00")


def test_source_revision_names_a_commit_or_nothing() -> None:
    revision = provenance.source_revision()
    assert revision is None or len(str(revision["commit"])) == 40


def test_packages_of_extras_are_named_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package.startswith("onnx"):
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    assert {"onnx", "onnxruntime"} <= provenance.versions().keys()
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "onnx" not in provenance.versions()
    assert provenance.versions()["rasterio"] == "1.0"
