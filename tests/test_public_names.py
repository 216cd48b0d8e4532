import importlib
import subprocess
import sys

import pytest

import seg_scse
from seg_scse.attention.gates import SCSE
from seg_scse.models.attach import attach_attention
from seg_scse.models.build import build_model

PUBLIC = {
    "seg_scse": [
        "SCSE", "__version__", "attach_attention", "build_model", "from_pretrained", "load", "save_pretrained",
    ],
    "seg_scse.attention": [
        "GateSet", "SCSE", "Site", "attach_gates", "build_gate", "recalibrate",
    ],
    "seg_scse.config": ["Config", "json_schema", "load_config", "to_yaml"],
    "seg_scse.models": [
        "ClassicUNet", "Sites", "attach_attention", "attach_configured", "build_model", "describe_model", "example_for",
        "find_sites",
    ],
    "seg_scse.report": ["plot_curves", "results_table", "write_report"],
}  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_change_only_on_purpose(module: str) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == PUBLIC[module]
    assert all(hasattr(found, name) for name in found.__all__)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, seg_scse; print(seg_scse.__version__); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_names_of_the_package_are_those_of_their_modules() -> None:
    assert seg_scse.SCSE is SCSE
    assert seg_scse.attach_attention is attach_attention
    assert seg_scse.build_model is build_model


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'seg_scse' has no attribute 'ScSE'"):
        seg_scse.ScSE  # noqa: B018
