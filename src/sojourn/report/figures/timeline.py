"""One patient's timeline: what was observed up to now, a fan of simulated futures, and the risks read out both ways."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sojourn.report.artifacts import as_list, as_mapping
from sojourn.report.axes import Panel, extent, ticks
from sojourn.report.figures.legend import Key, draw_legend
from sojourn.report.formatting import count, number, plain_code, plain_outcome
from sojourn.report.svg import Drawing, shorten, wrap

_LEFT, _WIDTH = 140, 704
_HEIGHT = 84
_MAX_ROWS = 10
_MAX_RISKS = 9
_RISK_STEP = 190
_RISK_KEYS = (
    Key("risk, asked by query", "line", "ours"),
    Key("share of simulated futures", "dash", "rival"),
    Key("its 95 % Monte-Carlo range", "band", "rival", 0.2),
)
_SHARES = ("q05", "q25", "q50", "q75", "q95")


@dataclass(frozen=True, slots=True)
class _Row:
    """One code: what was observed and the quantiles of its simulated future, in hours from now."""

    name: str
    unit: str
    observed: list[tuple[float, float]]
    hours: list[float]
    quantiles: dict[str, list[float]]


def timeline_figure(timeline: Mapping[str, Any], *, standalone: bool = True) -> str:
    """Draw a patient's timeline.

    Parameters
    ----------
    timeline
        Content of `timeline.json`, all hours counted from now: `observed` [{code, description, unit, hours, values}],
        `futures` [{code, description, unit, hours, q05, q25, q50, q75, q95}], `risks` [{outcome, hours, incidence,
        sampled}] and `num_samples`.
    standalone
        Return an SVG for a file of its own rather than for a page that has the style sheet.

    Returns
    -------
    str
        The SVG.
    """
    rows = _rows(timeline)
    risks = [as_mapping(risk) for risk in as_list(timeline.get("risks"))][:_MAX_RISKS]
    ahead = max((hour for row in rows for hour in row.hours), default=0.0)
    behind = min((hour for row in rows for hour, _ in row.observed if hour < 0), default=0.0)
    span = (max(behind, -max(48.0, 1.5 * ahead)), max(ahead, 1.0))
    body = len(rows) * (_HEIGHT + 14)
    num_risk_rows = math.ceil(len(risks) / 3)
    height = 44 + body + (70 if risks else 30) + num_risk_rows * _RISK_STEP
    drawing = Drawing(860, height, "One patient's timeline with simulated futures", _describe(timeline, rows))
    draw_legend(drawing, _LEFT, 14, _keys(number(timeline.get("num_samples"))))
    if rows:
        _draw_rows(drawing, rows, span)
    if risks:
        draw_legend(drawing, 44, 44 + body + 54, _RISK_KEYS)
    for i, risk in enumerate(risks):
        box = (44 + (i % 3) * 284, 44 + body + 96 + (i // 3) * _RISK_STEP, 230, 110)
        _draw_risk(drawing, box, risk, timeline)
    return drawing.render(standalone=standalone)


def _keys(num_samples: float) -> list[Key]:
    """Legend of the fan."""
    futures = f"{count(num_samples)} simulated futures: " if math.isfinite(num_samples) else "simulated futures: "
    return [
        Key("observed", "circle", "ink"),
        Key(futures + "median", "line", "ours"),
        Key("50 %", "band", "ours", 0.42),
        Key("90 %", "band", "ours", 0.18),
    ]


def _draw_rows(drawing: Drawing, rows: Sequence[_Row], span: tuple[float, float]) -> None:
    """Draw the rows under one another on one scale of hours, with a line at now."""
    for i, row in enumerate(rows):
        seen = [(hour, value) for hour, value in row.observed if hour >= span[0]]
        heights = [value for _, value in seen] + [v for values in row.quantiles.values() for v in values]
        panel = Panel(drawing, _LEFT, 44 + i * (_HEIGHT + 14), _WIDTH, _HEIGHT, span, extent(heights, pad=0.1))
        drawing.rect(panel.at_x(0), panel.y, panel.x + panel.width - panel.at_x(0), _HEIGHT, role="ours", opacity=0.05)
        panel.left_axis(num=3)
        name = wrap(row.name, 100, 13)
        for j, line in enumerate(name):
            drawing.text(4, panel.y + 14 + 15 * j, line, style="strong")
        drawing.text(4, panel.y + 14 + 15 * len(name), shorten(row.unit, 100), role="faint", style="small")
        bands = {key: panel.points(row.hours, values) for key, values in row.quantiles.items()}
        for lower, upper, opacity in (("q05", "q95", 0.18), ("q25", "q75", 0.28)):
            if lower in bands and upper in bands:
                drawing.area(bands[lower], bands[upper], role="ours", opacity=opacity)
        drawing.path(bands.get("q50", []), role="ours", width=2)
        dots = panel.points(*zip(*seen, strict=True)) if seen else []
        drawing.path(dots, role="faint", width=1, opacity=0.6)
        for x, y in dots if len(dots) <= 400 else []:
            drawing.marker(x, y, role="ink", size=2.2)
        if i == len(rows) - 1:
            panel.bottom_axis(values=_hour_ticks(*span), label="hours from now")
    x, bottom = panel.at_x(0), 44 + len(rows) * (_HEIGHT + 14) - 14
    drawing.line(x, 34, x, bottom, role="ink", width=1.4)
    drawing.text(x + 5, 38, "now", style="strong")


def _hour_ticks(first: float, last: float) -> list[float]:
    """Hours to mark: parts or multiples of a day where that gives few enough."""
    step = next((step for step in (1, 2, 3, 6, 12, 24, 48, 96, 168) if (last - first) / step <= 12), None)
    if step is None:
        return ticks(first, last, 8)
    return [float(step * k) for k in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _draw_risk(
    drawing: Drawing, box: tuple[float, float, float, float], risk: Mapping[str, Any], timeline: Mapping[str, Any]
) -> None:
    """Draw the incidence of one outcome: the query's curve and the share of the simulated futures."""
    hours = _numbers(risk.get("hours"))
    query, sampled = _numbers(risk.get("incidence")), _numbers(risk.get("sampled"))
    n = number(timeline.get("num_samples"))
    half = [1.96 * math.sqrt(max(p * (1 - p), 0) / n) if n > 0 else math.nan for p in sampled]
    highest = max(
        (
            v
            for v in [*query, *(p + (h if h == h else 0) for p, h in zip(sampled, half, strict=True))]
            if math.isfinite(v)
        ),
        default=0,
    )
    panel = Panel(
        drawing, *box, (0.0, max(hours, default=1.0) or 1.0), (0.0, min(1.0, max(highest * 1.12, 0.01)) * 100)
    )
    panel.title(shorten(plain_outcome(risk.get("outcome")), panel.width, 13))
    panel.left_axis(num=3)
    drawing.text(
        panel.x - 32, panel.y + panel.height / 2, "risk, %", role="faint", style="small", anchor="middle", turn=-90
    )
    panel.bottom_axis(values=ticks(0, panel.across[1], 4), label="hours from now")
    shares = list(zip(sampled, half, strict=True))
    lower = panel.points(hours, [100 * max(p - h, 0) for p, h in shares])
    upper = panel.points(hours, [100 * min(p + h, 1) for p, h in shares])
    drawing.area(lower, upper, role="rival", opacity=0.2)
    drawing.path(panel.points(hours, [100 * p for p in sampled]), role="rival", width=1.8, dash="4 3")
    drawing.path(panel.points(hours, [100 * p for p in query]), role="ours", width=2.2)


def _rows(timeline: Mapping[str, Any]) -> list[_Row]:
    """The codes to show: those with futures first, then those with most observed values."""
    futures = {str(f.get("code")): f for f in map(as_mapping, as_list(timeline.get("futures"))) if f}
    observed = {str(o.get("code")): o for o in map(as_mapping, as_list(timeline.get("observed"))) if o}
    alone = sorted(
        observed.keys() - futures.keys(), key=lambda code: (-len(as_list(observed[code].get("values"))), code)
    )
    rows = []
    for code in [*futures, *alone][:_MAX_ROWS]:
        past, future = as_mapping(observed.get(code)), as_mapping(futures.get(code))
        either = {**past, **{k: v for k, v in future.items() if v is not None}}
        pairs = zip(_numbers(past.get("hours")), _numbers(past.get("values")), strict=False)
        hours = _numbers(future.get("hours"))
        kept = [i for i, hour in enumerate(hours) if math.isfinite(hour)]
        quantiles = {key: _numbers(future.get(key)) for key in _SHARES}
        rows.append(
            _Row(
                name=plain_code(code, either.get("description")),
                unit=str(either.get("unit") or ""),
                observed=sorted(pair for pair in pairs if all(map(math.isfinite, pair))),
                hours=[hours[i] for i in kept],
                quantiles={key: [q[i] for i in kept] for key, q in quantiles.items() if len(q) == len(hours) and kept},
            )
        )
    return [row for row in rows if row.observed or row.quantiles]


def _numbers(values: Any) -> list[float]:
    """A list of numbers, NaN for what is none."""
    return [number(value) for value in as_list(values)]


def _describe(timeline: Mapping[str, Any], rows: Sequence[_Row]) -> str:
    """Say what is shown for those who cannot see it."""
    names = ", ".join(row.name for row in rows)
    return f"Observed values and simulated futures of: {names}." if rows else "No values to show."
