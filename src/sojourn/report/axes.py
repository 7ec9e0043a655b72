"""Scales, ticks and frames: where a number stands on a drawing."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sojourn.report.formatting import significant
from sojourn.report.svg import Drawing


def ticks(lower: float, upper: float, num: int = 5) -> list[float]:
    """Return round numbers inside [lower, upper], about `num` of them, a power of ten times 1, 2 or 5 apart.

    Examples
    --------
    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(37, 142, 4)
    [50.0, 100.0]
    """
    if not (math.isfinite(lower) and math.isfinite(upper)) or upper <= lower:
        return []
    rough = (upper - lower) / max(num, 1)
    base = 10.0 ** math.floor(math.log10(rough))
    step = base * min((m for m in (1, 2, 5, 10) if m * base >= rough * 0.999), default=10)
    first, last = math.ceil(lower / step - 1e-9), math.floor(upper / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def extent(
    values: Iterable[float], *, pad: float = 0.06, fallback: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """Return the range of the finite values, widened by a share `pad` on both sides.

    Examples
    --------
    >>> extent([0.0, 10.0, float("nan")], pad=0.1)
    (-1.0, 11.0)
    >>> extent([])
    (0.0, 1.0)
    """
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return fallback
    lower, upper = min(finite), max(finite)
    if lower == upper:
        half = abs(lower) * 0.05 or 0.5
        return lower - half, upper + half
    room = (upper - lower) * pad
    return lower - room, upper + room


@dataclass(frozen=True, slots=True)
class Panel:
    """A rectangle of a drawing with a scale on each side."""

    drawing: Drawing
    x: float
    """Left edge in pixels."""
    y: float
    """Top edge in pixels."""
    width: float
    height: float
    across: tuple[float, float]
    """Values at the left and right edge."""
    up: tuple[float, float]
    """Values at the bottom and top edge."""

    def at_x(self, value: float) -> float:
        """Pixel of a value on the horizontal scale."""
        return self.x + _share(value, self.across) * self.width

    def at_y(self, value: float) -> float:
        """Pixel of a value on the vertical scale."""
        return self.y + self.height - _share(value, self.up) * self.height

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
        """Pixels of a line; a longer side is cut to the shorter."""
        return [(self.at_x(x), self.at_y(y)) for x, y in zip(xs, ys, strict=False)]

    def title(self, text: str, *, note: str = "") -> None:
        """Write the panel's title above it, with a faint note to its right."""
        self.drawing.text(self.x, self.y - 9, text, style="strong")
        if note:
            self.drawing.text(self.x + self.width, self.y - 9, note, role="faint", style="small", anchor="end")

    def left_axis(self, *, num: int = 4, labels: bool = True, values: Sequence[float] | None = None) -> None:
        """Draw faint lines across the panel with their values at the left."""
        if values is None:
            # one value alone gives no scale
            values = ticks(*self.up, num) if len(ticks(*self.up, num)) > 1 else ticks(*self.up, 2 * num)
        for value in values:
            y = self.at_y(value)
            self.drawing.line(self.x, y, self.x + self.width, y)
            if labels:
                self.drawing.text(self.x - 6, y + 4, significant(value), role="faint", style="small", anchor="end")

    def bottom_axis(
        self,
        *,
        num: int = 5,
        labels: bool = True,
        values: Sequence[float] | None = None,
        grid: bool = False,
        label: str = "",
    ) -> None:
        """Draw the base line with ticks and values below it; with `grid`, faint lines up the panel."""
        base = self.y + self.height
        for value in ticks(*self.across, num) if values is None else values:
            x = self.at_x(value)
            if grid:
                self.drawing.line(x, self.y, x, base)
            self.drawing.line(x, base, x, base + 4, role="faint")
            if labels:
                self.drawing.text(x, base + 16, significant(value), role="faint", style="small", anchor="middle")
        self.drawing.line(self.x, base, self.x + self.width, base, role="faint")
        if label:
            self.drawing.text(self.x + self.width / 2, base + 32, label, role="faint", style="small", anchor="middle")


def _share(value: float, scale: tuple[float, float]) -> float:
    """Where a value stands between the ends of a scale; at its start where the scale has no length."""
    length = scale[1] - scale[0]
    return (value - scale[0]) / length if length else 0.0
