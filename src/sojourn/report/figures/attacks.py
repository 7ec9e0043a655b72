"""What attacks found out of a training, with and without noise: AUROC of guessing who was trained on."""

from collections.abc import Sequence
from typing import NamedTuple

from sojourn.report.axes import Panel, extent, ticks
from sojourn.report.figures.legend import Key, draw_legend
from sojourn.report.formatting import fixed, interval
from sojourn.report.svg import Drawing

_ROW = 54
_LEFT, _RIGHT = 150, 250


class AttackRow(NamedTuple):
    """One training: each attack's AUROC with its limits."""

    name: str
    patients: tuple[float, float, float]
    canaries: tuple[float, float, float]


def attack_figure(rows: Sequence[AttackRow]) -> str:
    """Draw both attacks on each training beside chance."""
    shown = [value for row in rows for part in row[1:] for value in part]
    low, high = extent([*shown, 0.5], pad=0.03)
    height = 34 + len(rows) * _ROW + 44
    said = "; ".join(
        f"{row.name}: patients {fixed(row.patients[0])}, canaries {fixed(row.canaries[0])}" for row in rows
    )
    drawing = Drawing(860, height, "AUROC of guessing who was trained on, with 95 % intervals", said)
    draw_legend(drawing, 4, 14, [Key("patients", "circle", "ours"), Key("canaries", "square", "rival")])
    panel = Panel(drawing, _LEFT, 30, 860 - _LEFT - _RIGHT, height - 74, (max(low, 0.0), min(high, 1.0)), (0, 1))
    panel.bottom_axis(values=ticks(*panel.across, 6), grid=True, label="AUROC (0.5 = nobody is found)")
    drawing.line(panel.at_x(0.5), panel.y, panel.at_x(0.5), panel.y + panel.height, role="faint", dash="4 3")
    for k, row in enumerate(rows):
        y = panel.y + k * _ROW + 8
        drawing.text(4, y + 18, row.name, style="strong")
        for part, (found, role, shape) in enumerate(
            ((row.patients, "ours", "circle"), (row.canaries, "rival", "square"))
        ):
            at = y + 9 + part * 16
            drawing.line(panel.at_x(found[1]), at, panel.at_x(found[2]), at, role=role, width=1.6)
            drawing.marker(panel.at_x(found[0]), at, role=role, shape=shape)
            drawing.text(panel.x + panel.width + 14, at + 4, interval(*found, digits=3), style="small")
    return drawing.render()
