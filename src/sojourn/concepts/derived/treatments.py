"""Treatments from the signs that they start, go on and end: covers, episodes, infusions with their rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import HOUR, Ints, distinct
from sojourn.concepts.derived.record import Floats, Points, Record
from sojourn.concepts.derived.steps import Spans, following
from sojourn.errors import ConfigError

ENDS = ("ICU_DISCHARGE", "MEDS_DEATH")
"""Nothing that runs is charted after these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSettings:
    """How signs of a treatment become episodes."""

    treatments: tuple[str, ...]
    """Codes whose ``//start`` and ``//end`` mark the treatment."""
    evidence: tuple[str, ...] = ()
    """Codes that are charted only while the treatment runs, such as settings of its machine."""
    open_hours: float
    """A start without an end, or a start noted again and again, counts for so long."""
    evidence_hours: float = 8
    """A charted setting counts for so long."""
    merge_hours: float
    """A pause of up to so long is inside the episode."""

    def __post_init__(self) -> None:
        if not self.treatments or min(self.open_hours, self.evidence_hours) <= 0 or self.merge_hours < 0:
            msg = f"treatments must be named, open and evidence hours positive, merge_hours not negative; got {self}."
            raise ConfigError(msg)

    def roots(self) -> tuple[str, ...]:
        """The codes that tell episodes."""
        marks = [f"{name}//{mark}" for name in self.treatments for mark in ("start", "end")]
        return (*marks, *self.evidence, *ENDS)


class Episodes(NamedTuple):
    """One entry per episode, in order; all arrays have shape [episodes]."""

    begin: Ints
    end: Ints
    """Place of the end."""
    known: Ints
    """When it is known that the end was one: after the pause that would still have been inside the episode, or at
    discharge or death."""


def covers(record: Record, settings: EpisodeSettings) -> Spans:
    """When the treatment ran, as far as that was known at the time: no span depends on a sign after its end."""
    ends = record.rows(*(f"{name}//end" for name in settings.treatments), *ENDS).place
    starts = record.rows(*(f"{name}//start" for name in settings.treatments)).place
    evidence = record.rows(*settings.evidence).place if settings.evidence else starts[:0]
    held = ((starts, settings.open_hours), (evidence, settings.evidence_hours))
    begin = np.concatenate([places for places, _ in held])
    limit = np.concatenate([places + round(hours * HOUR) for places, hours in held])
    return Spans.of(begin, np.minimum(limit, following(distinct(ends), begin)))


def episodes(record: Record, settings: EpisodeSettings) -> Episodes:
    """Spans of a treatment joined over short pauses; discharge and death end every episode."""
    run = covers(record, settings)
    if not len(run.begin):
        return Episodes(run.begin, run.end, run.end)
    final = distinct(record.rows(*ENDS).place)
    so_far = np.maximum.accumulate(run.end)
    gap = round(settings.merge_hours * HOUR)
    is_new = run.begin[1:] > so_far[:-1] + gap
    is_new |= np.searchsorted(final, run.begin[1:], side="right") > np.searchsorted(final, run.begin[:-1], side="right")
    first = np.flatnonzero(np.append(True, is_new))
    begin, end = run.begin[first], so_far[np.append(first[1:], len(so_far)) - 1]
    return Episodes(begin, end, np.minimum(end + gap, following(final, end - 1)))


def episode_events(record: Record, settings: EpisodeSettings, code: str) -> list[pl.DataFrame]:
    """`<code>//start` where an episode begins, and `<code>//end`, with its hours, where the end is known.

    An end that would be known only after the subject's last row is not told.
    """
    found = episodes(record, settings)
    is_told = record.is_told(found.known)
    hours = (found.end - found.begin)[is_told] / HOUR
    return [
        record.axis.events(found.begin, f"{code}//start"),
        record.axis.events(found.known[is_told], f"{code}//end", hours),
    ]


def infusion(record: Record, drug: str, *, open_hours: float) -> Spans:
    """When a drug ran and at which rate.

    Parameters
    ----------
    drug : name of a concept with ``//start`` (value: the rate) and ``//end``.
    open_hours : a rate counts until the next mark of the drug, for so long at most.

    Returns
    -------
    Spans
        `value` is the rate in the concept's unit, NaN where the drug runs at a rate that cannot be told (another unit,
        not plausible). A start with a rate of 0 is an end. Of several rates at one time the highest counts. The spans
        do not overlap.
    """
    starts = record.rows(f"CONCEPT//{drug}//start")
    is_end = starts.value == 0
    known = record.values(f"{drug}//start", exact=True)
    known = known.keep(known.value > 0)
    place = np.concatenate([starts.place[~is_end], known.place])
    value = np.concatenate([np.full(np.count_nonzero(~is_end), -1.0), known.value])
    order = np.lexsort((value, place))
    place, value = place[order], value[order]
    is_highest = np.append(place[1:] != place[:-1], True)[: len(place)]
    place, value = place[is_highest], value[is_highest]
    ends = record.rows(f"CONCEPT//{drug}//end").place
    marks = distinct(np.concatenate([place, ends, starts.place[is_end]]))
    limit = place + round(open_hours * HOUR)
    return Spans(place, np.minimum(limit, following(marks, place)), np.where(value < 0, np.nan, value))


def steps_of(spans: Spans) -> Points:
    """A function that is `value` in each of spans that do not overlap and 0 between them, as its changes."""
    places = np.concatenate([spans.end, spans.begin])
    values: Floats = np.concatenate([np.zeros(len(spans.end)), spans.value])
    # At one place the end of the old span comes before the begin of the new one.
    order = np.lexsort((np.arange(len(places)), places))
    return Points(places[order], values[order])


def joined(record: Record, settings: Sequence[EpisodeSettings]) -> Spans:
    """When any of several treatments ran."""
    spans = Spans.of(*(np.zeros(0, np.int64),) * 2)
    for one in settings:
        spans = spans.join(covers(record, one))
    return spans
