"""What gets written down: noise, rounding, units, reporting limits, slips of the pen, and the clock of the chart."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.sources.simulator.bedside import mean_pressure, true_values
from sojourn.sources.simulator.catalogue import CONCEPTS, PANELS
from sojourn.sources.simulator.codes import CodeBook, code_book, concept_of, is_measured, unit_of
from sojourn.sources.simulator.config import SiteConfig
from sojourn.sources.simulator.policy import NOT_NOW, Clock, Minutes, orders, rounds
from sojourn.sources.simulator.state import Bools, Floats, State

MONITOR = ("heart_rate", "resp_rate", "spo2")
CUFF = ("sbp", "dbp", "map")
_BOUNDED = ("spo2", "fio2", "gcs_total")
_SLIPS = np.array([0.1, 10.0, 0.01, 2.0, 0.5], np.float32)


class Charted(NamedTuple):
    """Charted numbers of k rows: which step, when in it, which code, and what was written."""

    column: npt.NDArray[np.int32]
    """Column of the states (step of a stay), (k,)."""
    minute: npt.NDArray[np.int32]
    """Minutes after the beginning of the step, (k,); late charting can pass its end."""
    code: npt.NDArray[np.int32]
    """Index into the hospital's `CodeBook`, (k,)."""
    value: Floats
    """Number as written, in the local unit; NaN for none, (k,)."""
    bound: npt.NDArray[np.int8]
    """-1 written as `<value`, +1 as `>value`, 0 as it is, (k,)."""

    def take(self, places: npt.NDArray[Any]) -> "Charted":
        """Rows at some places, or where a mask is true."""
        return Charted(
            self.column[places], self.minute[places], self.code[places], self.value[places], self.bound[places]
        )


def join(parts: list[Charted]) -> Charted:
    """Stack rows."""
    return Charted(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def rows(column: npt.NDArray[np.int32], minute: Minutes, code: int, value: Floats | None = None) -> Charted:
    """Rows of one code; no value gives NaN."""
    num = len(column)
    written = np.full(num, np.nan, np.float32) if value is None else value.astype(np.float32)
    return Charted(column, minute.astype(np.int32), np.full(num, code, np.int32), written, np.zeros(num, np.int8))


class Chart:
    """Charts the measurements of m steps of stays at one hospital.

    Parameters
    ----------
    state : m states at the beginning of steps.
    is_last : (m,) whether the stay ends within the step: no blood is taken then.
    """

    def __init__(self, site: SiteConfig, state: State, is_last: Bools, rng: np.random.Generator) -> None:
        self._site, self._state, self._is_last, self._rng = site, state, is_last, rng
        self._book: CodeBook = code_book(site)
        self._truth: dict[str, Floats] = {}
        self._clock = Clock(state)
        self._map = np.full(len(state), np.nan, np.float32)

    def everything(self) -> Charted:
        """All vital signs and laboratory values."""
        self._truth = true_values(self._state)
        return join([*self.vital_signs(), *(part for panel in PANELS for part in self.panel(panel))])

    def lactate(self) -> Charted:
        """Only the charted lactate values, drawn from the same distribution as in `everything`."""
        self._truth = {"lactate": np.exp(self._state["log_lactate"]), "map": mean_pressure(self._state)}
        if self._site.policy.kind == "protocol":
            self._round(rounds(self._state, self._clock, self._site.policy, self._rng), ("map",))
        return join([self.write("lactate", np.zeros(0, np.int32), np.zeros(0, np.int32)), *self.panel("lactate")])

    def vital_signs(self) -> list[Charted]:
        """Rounds, slow vital signs, weight at admission and urine."""
        policy, charting, rng = self._site.policy, self._site.charting, self._rng
        minute = rounds(self._state, self._clock, policy, rng)
        lag = self._lag()
        on_time = minute != NOT_NOW
        monitor = np.where(on_time, minute + lag, NOT_NOW)
        cuff = np.where(on_time, minute + (self._lag() if charting.by_device else lag), NOT_NOW)
        parts = self._round(monitor, MONITOR) + self._round(cuff, CUFF)
        slow = self._clock.every(policy.slow_vitals_hours)
        slow = np.where(slow != NOT_NOW, slow + lag, NOT_NOW)
        parts += self._round(slow, ("temperature", "gcs_total"))
        has_oxygen = (self._state["fio2"] > 0.25) | (self._state["ventilated"] > 0)
        parts += self._round(np.where(has_oxygen, slow, NOT_NOW), ("fio2",))
        arrival = np.where(self._state["hours"] == 0, 1, NOT_NOW)
        return parts + self._round(arrival, ("weight",)) + self._urine()

    def panel(self, panel: str) -> list[Charted]:
        """Values of one panel, taken at one moment."""
        minute = orders(panel, self._state, self._clock, self._site, self._rng, self._map)
        taken = np.flatnonzero((minute != NOT_NOW) & ~self._is_last).astype(np.int32)
        if panel == "culture":
            return [rows(taken, minute[taken], self._book.place["culture"])]
        names = ("bedside_glucose",) if panel == "bedside_glucose" else PANELS[panel]
        parts = []
        for name in names:
            kept = taken[self._rng.random(len(taken), np.float32) < 0.98]
            parts.append(self.write(name, kept, minute[kept]))
        return parts

    def _lag(self) -> Minutes:
        """Minutes from the exact time of a round to the time in the chart; the same for the whole round."""
        charting, num = self._site.charting, len(self._state)
        lag = self._rng.integers(0, charting.jitter_minutes + 1, num, np.int32)
        late = self._rng.random(num, np.float32) < charting.late_rate
        lag[late] += self._rng.integers(15, 51, int(late.sum()), np.int32)
        return lag

    def _round(self, minute: Minutes, names: tuple[str, ...]) -> list[Charted]:
        """Write some vital signs at the given minutes; a few are left out."""
        parts = []
        taken = np.flatnonzero(minute != NOT_NOW).astype(np.int32)
        for name in names:
            kept = taken[self._rng.random(len(taken), np.float32) >= self._site.policy.vitals_missed]
            part = self.write(name, kept, minute[kept])
            if name == "map":
                self._map[part.column] = part.value
            parts.append(part)
        return parts

    def _urine(self) -> list[Charted]:
        """Volume since the bladder or bag was emptied last: the present flow times the interval."""
        hours = self._site.policy.urine_interval_hours
        minute = self._clock.every(hours)
        taken = np.flatnonzero((minute != NOT_NOW) & (self._state["hours"] >= 1)).astype(np.int32)
        kept = taken[self._rng.random(len(taken), np.float32) >= 2 * self._site.policy.vitals_missed]
        since = np.minimum(self._state["hours"][kept], hours)
        return [self.write("urine_output", kept, minute[kept], since)]

    def write(
        self, series: str, column: npt.NDArray[np.int32], minute: Minutes, factor: Floats | None = None
    ) -> Charted:
        """Write values of one series: measure, convert, limit, round, and slip now and then."""
        concept = concept_of(series)
        if not is_measured(self._site, series):
            column, minute, factor = column[:0], minute[:0], None
        facts, charting, rng = CONCEPTS[concept], self._site.charting, self._rng
        value = self._truth[concept][column]
        if factor is not None:
            value = value * factor
        error = rng.standard_normal(len(column), np.float32)
        value = value * (1 + facts.relative_noise * error) + facts.noise * error
        if concept == "gcs_total":
            value = np.round(value)
        value = np.clip(value, facts.low, facts.high) if concept in _BOUNDED else np.maximum(value, 0.0)
        _, unit = unit_of(self._site, series)
        low, high = charting.limits.get(concept, (-np.inf, np.inf))
        bound = (value > high).astype(np.int8) - (value < low).astype(np.int8)
        local = np.clip(value, low, high) * np.float32(unit.factor) + np.float32(unit.offset)
        slip = np.flatnonzero((rng.random(len(column), np.float32) < charting.outlier_rate) & (bound == 0))
        local[slip] *= rng.choice(_SLIPS, len(slip))
        written = (np.round(local / unit.tick) * unit.tick).astype(np.float32)
        return Charted(
            column, minute.astype(np.int32), np.full(len(column), self._book.place[series], np.int32), written, bound
        )
