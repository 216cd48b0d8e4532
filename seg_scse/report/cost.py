"""What the network costs, in words."""

from seg_scse.report.reading import Cost
from seg_scse.report.wording import grouped

_STEPS = (("T", 1e12), ("G", 1e9), ("M", 1e6))


def cost_facts(cost: Cost | None) -> list[tuple[str, str]]:
    """(term, sentence) pairs on size, work, memory and speed; empty where nothing was measured."""
    if cost is None:
        return []
    facts = (
        ("Parameters", _parameters(cost)),
        ("FLOPs", _work(cost)),
        ("Memory", _memory(cost)),
        ("Speed", _speed(cost)),
    )
    return [(term, sentence) for term, sentence in facts if sentence]


def _parameters(cost: Cost) -> str | None:
    if cost.parameters is None:
        return None
    scaled, exact = _scaled(cost.parameters).strip(), grouped(cost.parameters)
    return f"{scaled} ({exact})" if cost.parameters >= _STEPS[-1][1] else exact


def _work(cost: Cost) -> str | None:
    if cost.flops_per_tile is None:
        return None
    tile = f" of {cost.tile} × {cost.tile} px" if cost.tile else ""
    return f"{_scaled(cost.flops_per_tile)}FLOPs for a tile{tile}; a multiplication with its addition counts as two."


def _memory(cost: Cost) -> str | None:
    if cost.peak_memory_bytes is None:
        return None
    place = {"gpu": "on the GPU", "process": "by the whole process"}.get(cost.peak_memory_of or "", "")
    return f"At most {cost.peak_memory_bytes / 2**30:.2f} GiB {place}".rstrip() + "."


def _speed(cost: Cost) -> str | None:
    parts = []
    if cost.images_per_second is not None:
        parts.append(f"{cost.images_per_second:.3g} images per second")
    if cost.megapixels_per_second is not None:
        parts.append(f"{cost.megapixels_per_second:.3g} megapixels per second through the network")
    if cost.seconds is not None:
        parts.append(f"{cost.seconds:.3g} s in all")
    return f"{', '.join(parts)}." if parts else None


def _scaled(number: float) -> str:
    """`24.4 M`."""
    for letter, size in _STEPS:
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g} "
