"""Who can have an outcome at all: a treatment that runs, or ran within the washout of its outcome, does not start.

The outcome of a start is defined so (`sojourn.tasks.outcomes.StartOutcome`). A network that must find that out for
itself gives those who are on the treatment some of the risk of all others, and these too little.

Shape letters: Q moments, C codes asked, S outcomes that are starts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sojourn.concepts.derived.ventilation import INVASIVE
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.tasks.outcomes import StartOutcome, matching_codes, outcomes
from sojourn.tasks.own_outcomes import kept_outcomes
from sojourn.training.records import Floats, Ints, RecordReader, Records

_HOUR_S = 3600.0
_NEVER = -np.inf
_SIGNS = {"CONCEPT//ventilation": (*INVASIVE.evidence, "CONCEPT//peep", "CONCEPT//tidal_volume")}
"""What is charted while a device runs. It begins nothing here: a mask has a pressure too."""
_LEAST_CLOSED = 0.5
"""Ends for each start from which on a start without an end is one that goes on; where ends are seldom charted, the
outcome's definition takes it for over after `open_hours`, whatever is charted."""
_SIGN_S = INVASIVE.evidence_hours * _HOUR_S


class Drug(NamedTuple):
    """What tells of one drug or device."""

    starts: tuple[int, ...]
    rates: tuple[int, ...]
    signs: tuple[int, ...]
    """What is charted while it runs, if it was started."""
    ends: tuple[int, ...]


class Start(NamedTuple):
    """An outcome that is the start of a treatment, in the codes of a model's vocabulary."""

    outcome: int
    drugs: tuple[Drug, ...]
    washout_s: float
    open_s: float
    """For how long after a start, or a rate, it counts as running if nothing tells of an end; longer while there are
    signs."""


def starts(reader: RecordReader) -> list[Start]:
    """The outcomes of the reader's vocabulary that are starts, as its store defines them."""
    vocabulary, found = reader.vocabulary, []
    names = vocabulary.table["code"].to_list()
    for definition in (outcomes() | kept_outcomes(reader.store.path)).values():
        if isinstance(definition, StartOutcome) and definition.code in vocabulary.index:
            drugs = tuple(_drug(vocabulary, names, root) for root in definition.treatments)
            spans = definition.washout_hours * _HOUR_S, definition.open_hours * _HOUR_S
            found.append(Start(vocabulary.index[definition.code], drugs, *spans))
    return found


def _drug(vocabulary: ModelVocabulary, names: Sequence[str], root: str) -> Drug:
    begins, rates, ends = (_codes(vocabulary, names, f"{root}//{mark}") for mark in ("start", "rate", "end"))
    signs, count = _codes(vocabulary, names, *_SIGNS.get(root, ())), vocabulary.table["count"].to_numpy()
    is_closed = count[list(ends)].sum() >= _LEAST_CLOSED * count[list(begins)].sum()
    return Drug(begins, rates, signs if is_closed else (), ends)


def _codes(vocabulary: ModelVocabulary, names: Sequence[str], *roots: str) -> tuple[int, ...]:
    return tuple(vocabulary.index[name] for name in matching_codes(names, roots))


def wait_hours(records: Records, subject_Q: Ints, seconds_Q: Ints, code_C: Ints, known: Sequence[Start]) -> Floats:
    """Hours for which each code cannot come by its definition, shape (Q, C) float32; 0 for all but starts.

    What comes after a moment has no part in it. While a treatment runs, its end is not yet known: the whole washout.
    """
    out = np.zeros((len(subject_Q), len(code_C)), np.float32)
    for start in known:
        for column in np.flatnonzero(code_C == start.outcome):
            since = seconds_Q - _last_run(records, subject_Q, seconds_Q, start)
            out[:, column] = np.maximum(start.washout_s - since, 0.0) / _HOUR_S
    return out


def _last_run(records: Records, subject_Q: Ints, seconds_Q: Ints, start: Start) -> np.ndarray:
    """When any drug of a treatment last ran up to the moments, in seconds since the origin; -inf: never."""
    last = np.full(len(subject_Q), _NEVER)
    for drug in start.drugs:
        begun, is_start_zero = _last(records, subject_Q, seconds_Q, drug.starts)
        rated, is_rate_zero = _last(records, subject_Q, seconds_Q, drug.rates)
        signed, _ = _last(records, subject_Q, seconds_Q, drug.signs)
        ended, _ = _last(records, subject_Q, seconds_Q, drug.ends)
        # At one time the end of the old rate comes before the start of the new one; a rate of 0 is an end.
        is_begun, is_rated = (begun >= ended) & ~is_start_zero, (rated > ended) & ~is_rate_zero
        shown = np.maximum(begun, rated)
        is_running = np.where(rated > begun, is_rated, is_begun) & (shown > _NEVER)
        until = np.maximum(shown + start.open_s, signed + _SIGN_S)
        run = np.where(is_running, np.minimum(until, seconds_Q), np.maximum(shown, ended))
        last = np.maximum(last, run)
    return last


def _last(records: Records, subject_Q: Ints, seconds_Q: Ints, codes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Time of the last event of some codes up to each moment, -inf for none, and whether its value is 0; (Q,) each."""
    time, is_zero = np.full(len(subject_Q), _NEVER), np.zeros(len(subject_Q), bool)
    events = records.all_events
    for code in codes if len(events.code) else ():
        place = records.outcome_index.last_before(subject_Q, np.full_like(subject_Q, code), seconds_Q + 1)
        at = np.where(place >= 0, events.seconds[place], _NEVER)
        is_later = at >= time
        is_zero = np.where(is_later & (place >= 0), events.value[place] == 0, is_zero)
        time = np.where(is_later, at, time)
    return time, is_zero
