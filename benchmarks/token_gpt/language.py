"""Records told in tokens, as ETHOS tells them.

An event is the token of its code, followed by the token of its value's decile where it has a value. Two instants at
least 5 minutes apart have the token of their interval between them; half a year is repeated as often as it fits. Events
of an instant stand in canonical order. A window starts with what never changes and the age, in steps of 5 years, at
its first token. Codes are those of our vocabulary, so that both models tell the same events apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sojourn.inference.bins import Bins
from sojourn.training.records import EventTable, Ints, RecordReader, Records, age_years

NUM_AGES, YEARS_PER_AGE = 21, 5
CODE, VALUE, TIME, PROMPT = range(4)


class Story(NamedTuple):
    """One subject in T tokens."""

    prefix: Ints
    """Tokens before the first instant: start, static events, age; the last one is the age."""
    token: Ints
    """(T,) tokens of all instants."""
    age: Ints
    """(T,) token of the age at each of them."""
    num_given: int
    """Tokens of the first instant, which are not scored."""
    num_events: int
    """Events after the first instant."""


@dataclass(frozen=True)
class Language:
    """Tokens: codes as in the vocabulary, then value bins, intervals, ages and the start of a record."""

    num_codes: int
    bins: Bins

    @property
    def first_value(self) -> int:
        return self.num_codes

    @property
    def first_time(self) -> int:
        return self.num_codes + self.bins.value_edges.shape[1] + 1

    @property
    def last_time(self) -> int:
        """Token of the longest interval, the one that is repeated."""
        return self.first_time + len(self.bins.interval_edges_s)

    @property
    def first_age(self) -> int:
        return self.last_time + 1

    @property
    def start(self) -> int:
        return self.first_age + NUM_AGES + 1

    def __len__(self) -> int:
        return self.start + 1

    def kinds(self) -> torch.Tensor:
        """Kind of each token, shape (number of tokens,)."""
        kind = torch.full((len(self),), PROMPT)
        kind[: self.first_value], kind[self.first_value : self.first_time] = CODE, VALUE
        kind[self.first_time : self.first_age] = TIME
        return kind

    def is_possible(self, previous: torch.Tensor, last_code: torch.Tensor, can_emit: torch.Tensor) -> torch.Tensor:
        """Which tokens may follow, shape (N, number of tokens): what a model of tokens could know without learning.

        Parameters
        ----------
        previous : (N,) token before.
        last_code : (N,) last code token up to there.
        can_emit : (number of codes,) codes that can occur in a history.
        """
        kind, token = self.kinds(), torch.arange(len(self))
        before = kind[previous][:, None]
        may_emit = torch.cat([can_emit, torch.zeros(len(self) - self.num_codes, dtype=torch.bool)])
        value = (kind == VALUE) & (token - self.first_value < self.bins.num_value_bins[last_code][:, None])
        time = (kind == TIME) & (token >= self.first_time + (0 if self.bins.has_short_token else 1))
        code = may_emit
        if self.bins.has_short_token:  # only then does a new instant always follow a token of time
            code = may_emit & ((before == TIME) | (token >= last_code[:, None]))
        again = (before == TIME) & (previous == self.last_time)[:, None] & (token == self.last_time)
        return code | (value & (before == CODE)) | (time & (before != TIME)) | again

    def tell(self, reader: RecordReader, rows: Ints, rng: np.random.Generator | None = None) -> Iterator[Story]:
        """Stories of subjects; with `rng`, a few codes are told as unknown ones, as in the training of our model."""
        for begin in range(0, len(rows), 64):
            records = reader.read(rows[begin : begin + 64], rng=rng, unknown_share=0.02 if rng is not None else 0.0)
            yield from self._stories(records)

    def _stories(self, records: Records) -> Iterator[Story]:
        repeats, time_token = self._times(records)
        has_value = ~np.isnan(records.events.value)
        count = repeats + 1 + has_value
        begin = np.cumsum(count) - count
        token = np.empty(int(count.sum()), np.int64)
        spot = np.repeat(begin, repeats) + np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        token[spot] = np.repeat(time_token, repeats)
        token[begin + repeats] = records.events.code
        token[(begin + repeats + 1)[has_value]] = self._values(records.events.take(has_value))
        subject = records.events.subject
        ages = np.repeat(self._age(records, subject, records.events.seconds), count)
        ends = np.append(begin, len(token))
        first_event = np.searchsorted(subject, np.arange(len(records.rows) + 1))
        for s in range(len(records.rows)):
            first, last = first_event[s], first_event[s + 1]
            if first == last:
                continue
            after = records.event_start[records.subject_start[s] + 1]
            body = slice(ends[first], ends[last])
            yield Story(
                prefix=self._prefix(records, s, ages[ends[first]]),
                token=token[body],
                age=ages[body],
                num_given=int(ends[after] - ends[first]),
                num_events=int(last - after),
            )

    def _times(self, records: Records) -> tuple[Ints, Ints]:
        """How many interval tokens stand before each event, and which."""
        instant = records.instant
        is_later = (records.rank == 0) & (instant > records.subject_start[records.events.subject])
        gap = records.instant_time[instant] - records.instant_time[np.maximum(instant - 1, 0)]
        number = self.bins.gap_bin(torch.from_numpy(np.where(is_later, gap, 0))).numpy()
        longest = len(self.bins.interval_edges_s)
        repeats = np.where(number >= longest, number - longest + 1, 1)
        is_told = is_later & ((number > 0) | self.bins.has_short_token)
        return np.where(is_told, repeats, 0), self.first_time + np.minimum(number, longest)

    def _values(self, events: EventTable) -> Ints:
        code, value = torch.from_numpy(events.code), torch.from_numpy(events.value)
        bins: Ints = self.bins.value_bin(code, value).numpy()
        return self.first_value + bins

    def _age(self, records: Records, subject: Ints, seconds: Ints) -> Ints:
        age = age_years(records, subject, seconds.astype(np.float64)) / YEARS_PER_AGE
        step = np.where(np.isnan(age), NUM_AGES, np.clip(np.nan_to_num(age), 0, NUM_AGES - 1))
        return self.first_age + step.astype(np.int64)

    def _prefix(self, records: Records, subject: int, age: int) -> Ints:
        static = records.static.take(records.static.subject == subject)
        has_value = ~np.isnan(static.value)
        parts = [np.array([self.start])]
        for k in range(len(static.code)):
            parts.append(static.code[k : k + 1])
            if has_value[k]:
                parts.append(self._values(static.take(np.array([k]))))
        return np.concatenate([*parts, np.array([age])])
