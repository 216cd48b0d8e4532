from seg_scse.report.cost import cost_facts
from seg_scse.report.reading import Cost


def test_cost_is_said_with_units():
    cost = Cost(
        parameters=24_430_897,
        flops_per_tile=15.6e9,
        tile=256,
        peak_memory_bytes=3 * 2**29,
        peak_memory_of="gpu",
        megapixels_per_second=1.84,
        images_per_second=7.03,
        seconds=12.5,
    )
    assert cost_facts(cost) == [
        ("Parameters", "24.4 M (24\u202f430\u202f897)"),
        ("FLOPs", "15.6 GFLOPs for a tile of 256 × 256 px; a multiplication with its addition counts as two."),
        ("Memory", "At most 1.50 GiB on the GPU."),
        ("Speed", "7.03 images per second, 1.84 megapixels per second through the network, 12.5 s in all."),
    ]


def test_what_was_not_measured_is_left_out():
    assert cost_facts(None) == cost_facts(Cost()) == []
    assert cost_facts(Cost(parameters=12)) == [("Parameters", "12")]
