import pytest

from seg_scse.attention import ChannelSE, ScSE, SpatialSE, build_gate
from seg_scse.config.attention import GateConfig
from seg_scse.errors import ConfigError


@pytest.mark.parametrize(("kind", "block"), [("cse", ChannelSE), ("sse", SpatialSE), ("scse", ScSE)])
def test_each_name_builds_its_block(kind, block):
    assert type(build_gate(GateConfig(type=kind), 8)) is block


def test_every_field_reaches_the_block():
    config = GateConfig(type="scse", reduction=4, merge="concat", bias=False, min_width=3, init="identity")
    block = build_gate(config, 8)
    assert (block.hidden, block.merge, block.fuse.bias, block.channel.squeeze.bias) == (3, "concat", None, None)
    assert not block.channel.excite.weight.any()


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError) as error:
        build_gate(GateConfig.model_construct(type="scsee"), 8)
    assert str(error.value) == "`type` = 'scsee' is no gate; did you mean `scse`? Known gates: cse, scse, sse."
