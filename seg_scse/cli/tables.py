"""Tables of plain text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows in columns of equal width; numbers at the right, the last column as it comes.

    Args:
        rows: the heading, then the rows.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    numbers = [all(isinstance(cell, int) for cell in column) for column in zip(*rows[1:], strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numbers or [False] * len(widths), strict=True)
        ).rstrip()
        for row in texts
    ]
    return "\n".join(lines)
