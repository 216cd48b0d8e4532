import importlib

import pytest

PUBLIC = {
    "seg_scse": ["__version__"],
    "seg_scse.attention": [
        "ChannelSE", "GateSet", "ScSE", "Site", "SpatialSE", "attach_attention", "build_gate", "recalibrate",
    ],
    "seg_scse.config": ["Config", "json_schema", "load_config", "to_yaml"],
    "seg_scse.models": ["Sites", "build_model", "describe_model", "find_sites"],
    "seg_scse.report": ["plot_curves", "results_table", "write_report"],
}  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_change_only_on_purpose(module: str) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == PUBLIC[module]
    assert all(hasattr(found, name) for name in found.__all__)
