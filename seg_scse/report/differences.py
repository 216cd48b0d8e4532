"""Differences of scores as text: points (hundredths) of a share, or a length."""

MINUS = "\u2212"


def decimals(unit: str | None, *values: float | None) -> int:
    """Digits after the point for differences that are said together: two for lengths, and where all are below a point.

    Args:
        unit: of a length; None for a share.
        values: the differences.
    """
    sizes = [abs(value) * (1 if unit else 100) for value in values if value is not None]
    return 2 if unit or max(sizes, default=0.0) < 1 else 1


def signed(unit: str | None, value: float | None, digits: int | None = None) -> str:
    """A difference with its sign and without its unit; n/a where there is none."""
    if value is None:
        return "n/a"
    text = f"{value if unit else 100 * value:+.{decimals(unit, value) if digits is None else digits}f}"
    return text.replace("-", MINUS)


def span(unit: str | None, low: float | None, high: float | None, digits: int) -> str:
    """`−0.2 to +1.4`; empty without an interval."""
    if low is None or high is None:
        return ""
    return f"{signed(unit, low, digits)} to {signed(unit, high, digits)}"
