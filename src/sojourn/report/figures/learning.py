"""Learning curves: bits per event over the steps of training, whole and split into gap, code and value."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sojourn.report.axes import Panel, extent
from sojourn.report.figures.legend import Key, draw_legend
from sojourn.report.formatting import fixed, number
from sojourn.report.svg import Drawing

_MAX_POINTS = 240
_PARTS = (
    ("nats_per_event", "All together"),
    ("nats_gap", "Gap: when"),
    ("nats_code", "Code: what"),
    ("nats_value", "Value: how much"),
    ("query_nats", "Queries"),
)
_SPLITS = (("train", "muted"), ("tuning", "ours"))


def bits(line: Mapping[str, Any], key: str) -> float:
    """Return a line's figure in bits; NaN where it is not there.

    Examples
    --------
    >>> round(bits({"nats_gap": 0.6931}, "nats_gap"), 3)
    1.0
    """
    return number(line.get(key)) / math.log(2)


def learning_figure(curve: Sequence[Mapping[str, Any]]) -> str:
    """Draw the learning curves.

    Parameters
    ----------
    curve
        Lines of `metrics.jsonl`: step, split (`train` or `tuning`) and `nats_*`.
    """
    parts = [(key, name) for key, name in _PARTS if any(math.isfinite(bits(line, key)) for line in curve)]
    num_columns = 3 if len(parts) > 4 else 2
    num_rows = math.ceil(len(parts) / num_columns)
    width, height = (860 - 46 * num_columns - 18) / num_columns, 130
    drawing = Drawing(860, 34 + num_rows * (height + 70), "Learning curves in bits per event", _describe(curve))
    draw_legend(
        drawing,
        44,
        14,
        [Key("training", "line", "muted", 0.8), Key("tuning (subjects not trained on)", "line", "ours")],
    )
    for i, (key, name) in enumerate(parts):
        x = 44 + (i % num_columns) * (width + 46)
        y = 54 + (i // num_columns) * (height + 70)
        _draw_part(drawing, (x, y, width, height), curve, key, name)
    return drawing.render()


def _draw_part(
    drawing: Drawing, box: tuple[float, float, float, float], curve: Sequence[Mapping[str, Any]], key: str, name: str
) -> None:
    """Draw one panel: the training line thin, the tuning line thick with its last value."""
    lines = {split: _series(curve, split, key) for split, _ in _SPLITS}
    steps = [step for series in lines.values() for step, _ in series]
    last_step = max(steps, default=1.0) or 1.0
    # the first twentieth of training falls steeply; the frame follows what comes after, so that the rest can be read
    settled = [v for series in lines.values() for step, v in series if step >= last_step / 20]
    panel = Panel(drawing, *box, (0.0, last_step), extent(settled, pad=0.08))
    tuned = lines["tuning"]
    panel.title(name, note=f"last {fixed(tuned[-1][1])} bits" if tuned else "")
    panel.left_axis()
    panel.bottom_axis(num=4, label="training step")
    drawing.open_window(panel.x, panel.y, panel.width, panel.height)
    for split, role in _SPLITS:
        points = panel.points(*zip(*lines[split], strict=True)) if lines[split] else []
        drawing.path(
            points, role=role, width=2.2 if split == "tuning" else 1.2, opacity=1 if split == "tuning" else 0.8
        )
    drawing.close_window()
    for x, y in panel.points(*zip(*tuned, strict=True)) if 0 < len(tuned) <= 40 else []:
        if y >= panel.y:
            drawing.marker(x, y, role="ours", size=2.4)


def _series(curve: Sequence[Mapping[str, Any]], split: str, key: str) -> list[tuple[float, float]]:
    """Steps and bits of one split, averaged over neighbours where there are more points than pixels can show."""
    pairs = [(number(line.get("step")), bits(line, key)) for line in curve if line.get("split") == split]
    pairs = sorted(pair for pair in pairs if all(map(math.isfinite, pair)))
    size = math.ceil(len(pairs) / _MAX_POINTS)
    chunks = [pairs[i : i + size] for i in range(0, len(pairs), size)] if size > 1 else [[pair] for pair in pairs]
    return [(sum(s for s, _ in chunk) / len(chunk), sum(v for _, v in chunk) / len(chunk)) for chunk in chunks]


def _describe(curve: Sequence[Mapping[str, Any]]) -> str:
    """Say the last tuning values for those who cannot see the figure."""
    said = []
    for key, name in _PARTS:
        series = _series(curve, "tuning", key)
        if series:
            said.append(
                f"{name}: {fixed(series[0][1])} bits at the first, {fixed(series[-1][1])} at the last evaluation"
            )
    return "Tuning. " + "; ".join(said) + "." if said else ""
