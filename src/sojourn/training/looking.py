"""How often a hospital looks: the measuring that an outcome waits for, as recorded and as expected.

A high lactate is recorded where somebody measures lactate. Of two hospitals with equal patients, the one that measures
twice as often records nearly twice as many. Over moments i of a hospital's records, with r_i the risk of the outcome
within a day, m_i the probability that any of its codes is measured within that day or what is left of the record, both
by the model as for an unknown hospital, and y_i whether one was:

    R = (sum of r_i y_i) / (sum of r_i m_i)

with the variance of its logarithm as in `sojourn.training.observed`. Weighted by the risk, R tells how often those are
looked at in whom something would be found. No value that was found, and no outcome, has a part in it beyond saying who
is not at risk of a first event: those in whom it was found in the day before.

Shape letters: Q moments, C codes, S subjects, P pairs of a moment and a code that its record holds.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.model import Network
from sojourn.model.summary import VALUE_STATISTICS, CodeStatistics
from sojourn.tasks.outcomes import ValueOutcome, matching_codes, outcomes
from sojourn.tasks.own_outcomes import kept_outcomes
from sojourn.training.observed import HORIZON_HOURS, MIN_SUBJECTS, Ratio, cumulative, random_moments, ratio
from sojourn.training.records import Bools, Floats, Ints, RecordReader
from sojourn.training.targets import FirstTargets, Moments

_LARGEST, _SMALLEST = VALUE_STATISTICS.index("max_24h"), VALUE_STATISTICS.index("min_24h")


class Watched(NamedTuple):
    """An outcome that shows in a measured value only."""

    outcome: int
    """Code of the outcome in the model's vocabulary."""
    codes: tuple[int, ...]
    """Codes whose values show it."""
    definition: ValueOutcome


def watched(vocabulary: ModelVocabulary, asked: Sequence[str], store: EventStore) -> list[Watched]:
    """Outcomes among those that a run asks for (codes) whose measuring can be seen: a value crosses a threshold."""
    known = vocabulary.table["code"].to_list()
    found = []
    for definition in (outcomes() | kept_outcomes(store.path)).values():
        if isinstance(definition, ValueOutcome) and definition.code in asked:
            codes = tuple(vocabulary.index[code] for code in matching_codes(known, definition.codes))
            found += [Watched(vocabulary.index[definition.code], codes, definition)] if codes else []
    return found


def looking(
    network: Network, reader: RecordReader, rows: Ints, asked: Sequence[Watched], *, context: int
) -> dict[str, Ratio]:
    """Observed over expected measuring of each outcome at random moments of some subjects, by the outcome's code.

    Parameters
    ----------
    network : in evaluation mode.
    reader : of the store that holds the subjects; it may hide the outcomes.
    rows : S subjects of the store.
    asked : as `watched` finds them. Outcomes for which fewer than `MIN_SUBJECTS` were measured are left out.
    context : instants that the network sees at once.
    """
    sums = np.zeros((2, len(asked), len(rows)))
    codes = np.unique([code for one in asked for code in (one.outcome, *one.codes)]).astype(np.int64)
    column = {int(code): i for i, code in enumerate(codes)}
    for at in random_moments(network, reader, rows, codes, context=context):
        watched_h = at.moments.watched.clamp(max=HORIZON_HOURS)
        day = cumulative(network, at.log_hazard, torch.full_like(watched_h, HORIZON_HOURS))
        hazards = _Hazards(day, cumulative(network, at.log_hazard, watched_h))
        for i, one in enumerate(asked):
            terms = _terms(one, hazards, watched_h.numpy(), at.moments, at.targets, column)
            sums[:, i] += [np.bincount(at.subject, term, len(rows)) for term in terms]
    names = reader.vocabulary.table["code"]
    found = {names[one.outcome]: ratio(*sums[:, i]) for i, one in enumerate(asked)}
    return {name: told for name, told in found.items() if told.num_subjects >= MIN_SUBJECTS}


class _Hazards(NamedTuple):
    """Cumulative hazards of all codes, mean over the heads."""

    day: Floats
    """(Q, C) over the horizon."""
    watched: Floats
    """(Q, C) over as much of it as the record goes on."""


def _terms(
    one: Watched,
    hazards: _Hazards,
    watched_h: Floats,
    moments: Moments,
    targets: FirstTargets,
    column: Mapping[int, int],
) -> tuple[Floats, Floats]:
    """Risk times whether measured, and risk times the probability of it, (Q,) each; 0 for who is not at risk.

    A record that ends within the day counts for as long as it goes on: were it left out where nothing was measured, the
    measured ones would be too many.
    """
    measured = [column[code] for code in one.codes]
    is_in_time = targets.is_event.numpy() & (targets.hours.numpy() <= watched_h[:, None])
    assert moments.past is not None
    is_asked = ~_crossed(one, moments.past, len(moments.position))
    risk = -np.expm1(-hazards.day[:, column[one.outcome]]) * is_asked
    return risk * is_in_time[:, measured].any(1), risk * -np.expm1(-hazards.watched[:, measured].sum(1))


def _crossed(one: Watched, past: CodeStatistics, num_moments: int) -> Bools:
    """Whether a value of the last day was on the outcome's side of the threshold, (Q,)."""
    is_code = np.isin(past.code.numpy(), one.codes)
    largest, smallest = past.values[:, _LARGEST].numpy()[is_code], past.values[:, _SMALLEST].numpy()[is_code]
    above, at_least, below, at_most = one.definition.limits()
    infinity = math.inf
    is_crossed = (largest > _or(above, infinity)) | (largest >= _or(at_least, infinity))
    is_crossed |= (smallest < _or(below, -infinity)) | (smallest <= _or(at_most, -infinity))
    crossed: Bools = np.bincount(past.question.numpy()[is_code], is_crossed, num_moments) > 0
    return crossed


def _or(limit: float | None, otherwise: float) -> float:
    return otherwise if limit is None else limit
