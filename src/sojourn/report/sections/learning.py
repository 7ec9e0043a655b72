"""How training went: bits per event, split into gap, code and value."""

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from sojourn.report.artifacts import RunFolder
from sojourn.report.blocks import Block, Figure, Section, Table, paragraph
from sojourn.report.figures.learning import bits, learning_figure
from sojourn.report.formatting import count, fixed, number
from sojourn.report.sections.missing import missing

_KEYS = ("nats_per_event", "nats_gap", "nats_code", "nats_value", "query_nats")


def learning_section(run: RunFolder) -> Section:
    """Build the learning curves and the table of where they began and ended."""
    drawn = [line for line in run.curve if any(math.isfinite(bits(line, key)) for key in _KEYS)]
    if not drawn:
        return Section("learning", "How it learned", (missing("metrics.jsonl", run.name),))
    blocks: list[Block] = [
        paragraph(
            "The loss is the negative log-likelihood of whole records, in bits per event; fewer bits mean that the "
            "records surprise the model less. Times and values are taken at the resolution at which the source "
            "records them."
        ),
        Figure(
            Markup(learning_figure(drawn)),
            "Bits per event over training. The frame follows the curves after the first twentieth of training; "
            "steep starts leave it at the top. Queries are in bits per question.",
        ),
    ]
    tuning = [line for line in drawn if line.get("split") == "tuning"]
    if tuning:
        has_queries = any(math.isfinite(bits(line, "query_nats")) for line in tuning)
        num_columns = 7 if has_queries else 6
        rows = tuple(_row(name, line)[:num_columns] for name, line in _milestones(tuning))
        header = ("Tuning subjects", "Step", "Bits per event", "Gap", "Code", "Value", "Queries")[:num_columns]
        caption = "Likelihood on tuning subjects, whom the model was not trained on, in bits per event."
        blocks.append(Table(caption, header, rows))
    return Section("learning", "How it learned", blocks)


def _milestones(tuning: list[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """First, best and last evaluation; one that is two of them is told once."""
    ordered = sorted(
        tuning, key=lambda line: number(line.get("step")) if math.isfinite(number(line.get("step"))) else 0
    )
    scored = [line for line in ordered if math.isfinite(number(line.get("nats_per_event")))]
    best = min(scored, key=lambda line: number(line.get("nats_per_event"))) if scored else ordered[-1]
    if len(ordered) == 1:
        return [("Only evaluation", ordered[0])]
    first, last = ordered[0], ordered[-1]
    if best is last:
        return [("First evaluation", first), ("Last evaluation (the best)", last)]
    middle = [] if best is first else [("Best evaluation", best)]
    return [("First evaluation", first), *middle, ("Last evaluation", last)]


def _row(name: str, line: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of one evaluation."""
    return (name, count(line.get("step")), *(fixed(bits(line, key), 3) for key in _KEYS))
