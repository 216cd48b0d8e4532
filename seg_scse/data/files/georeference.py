"""Whether two files lie on one grid of the map."""

from seg_scse.data.files.raster import Place
from seg_scse.data.names import shown

_TOLERANCE = 1e-3  # of a pixel: what writing a transform as text may cost
_VOLUME_TOLERANCE = 1e-2  # programs for volumes keep the same grid in two forms, of single precision

Transform = tuple[float, float, float, float, float, float]


def difference_of_places(one: Place | None, other: Place | None, shape: tuple[int, int]) -> str | None:
    """Say in what the places of two files with the same pixels differ, or None; what one does not say cannot differ.

    Args:
        one: place of the first.
        other: place of the second.
        shape: `(H, W)` of both.
    """
    if one is None or other is None:
        return None
    if one.crs and other.crs and not _same_crs(one.crs, other.crs):
        return f"{shown(one.crs)[:120]} against {shown(other.crs)[:120]}"
    if one.transform and other.transform:
        shift = _shift(one.transform, other.transform, shape)
        allowed = _VOLUME_TOLERANCE if one.unit == "mm" else _TOLERANCE
        return f"a shift of up to {shift:.3g} pixels" if shift > allowed else None
    if one.unit == other.unit and any(
        abs(a - b) > _TOLERANCE * max(a, b) for a, b in zip(one.spacing, other.spacing, strict=True)
    ):
        found = [f"{place.spacing[0]:g} x {place.spacing[1]:g} {place.unit}" for place in (one, other)]
        return f"pixels of {found[0]} against {found[1]}"
    return None


def _same_crs(one: str, other: str) -> bool:
    if one == other or (one.startswith("EPSG:") and other.startswith("EPSG:")):
        return one == other
    from rasterio.crs import CRS  # only rasterio gives other names, so it is there

    return bool(CRS.from_user_input(one) == CRS.from_user_input(other))


def _shift(one: Transform, other: Transform, shape: tuple[int, int]) -> float:
    """Greatest distance between the corners of two grids, in pixels of the first, along x or y."""
    side = max(abs(value) for value in one[:2] + one[3:5])
    corners = [(x, y) for x in (0, shape[1]) for y in (0, shape[0])]
    return max(
        abs((one[at] - other[at]) * x + (one[at + 1] - other[at + 1]) * y + one[at + 2] - other[at + 2]) / side
        for x, y in corners
        for at in (0, 3)
    )
