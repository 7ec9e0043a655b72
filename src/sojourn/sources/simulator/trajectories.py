"""Whole stays: the state of a chunk of stays on the grid from ICU admission to its end, and how each one ended."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.sources.simulator.bedside import Bedside
from sojourn.sources.simulator.config import STEP_HOURS, SimulatorConfig, SiteConfig
from sojourn.sources.simulator.dynamics import (
    death_hazard,
    discharge_hazard,
    transition,
    ward_hazard,
)
from sojourn.sources.simulator.patients import admit
from sojourn.sources.simulator.state import Bools, Floats, State
from sojourn.sources.simulator.treatments import Actions

STEP_MINUTES = int(STEP_HOURS * 60)
PHYSIOLOGY, CHARTING, BRANCHES = 0, 1, 2
"""Purposes of the random streams: another measurement policy leaves the physiology as it is."""


@dataclass(frozen=True, slots=True)
class Stays:
    """A chunk of n simulated stays; minutes count from ICU admission."""

    state: State
    """States at the beginning of every step of every stay, m columns, ordered by step, then stay."""
    stay: npt.NDArray[np.int32]
    """Stay (0 to n-1) of each column, (m,)."""
    step: npt.NDArray[np.int32]
    """Step of the grid of each column, (m,): the state is the one `step` x 30 min after ICU admission."""
    is_last: Bools
    """Whether the stay ends within the step, (m,)."""
    actions: Actions
    """What the team did within the step, (m,) each; nothing in a last step."""
    action_minute: npt.NDArray[np.int32]
    """When it did it: minutes after the beginning of the step, 1 to 30, (m,)."""
    end_minute: npt.NDArray[np.int32]
    """End of the ICU stay, (n,)."""
    died: Bools
    """Whether it ended in death, (n,)."""
    leave_minute: npt.NDArray[np.int64]
    """End of the hospital stay, (n,); equal to `end_minute` after death in the ICU."""
    died_on_ward: Bools
    """Whether the hospital stay ended in death after the ICU, (n,)."""

    def __len__(self) -> int:
        return len(self.end_minute)


class WardStay(NamedTuple):
    """What follows the ICU, if nothing else ends it: hours on the ward, and the hazard of death there per hour."""

    hours: Floats
    hazard: Floats


def random_stream(config: SimulatorConfig, site: SiteConfig, chunk: int, purpose: int) -> np.random.Generator:
    """Generator of one chunk of one site for one purpose; independent of all others."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([config.seed, site.index, chunk, purpose])))


def num_chunks(config: SimulatorConfig, site: SiteConfig) -> int:
    """Chunks that the stays of a site fall into."""
    return -(-site.num_stays // config.chunk_stays)


def leave_icu(state: State, rng: np.random.Generator) -> WardStay:
    """Draw the time on the ward, and the hazard there, of stays that leave the ICU alive."""
    hours = np.exp(4.3 + 0.15 * np.clip(state["frailty"], -2, 3) + 0.7 * rng.standard_normal(len(state), np.float32))
    return WardStay(np.clip(hours, 6, 1500), ward_hazard(state, Bedside(state)))


def simulate_chunk(config: SimulatorConfig, site: SiteConfig, chunk: int) -> Stays:
    """Simulate the stays number `chunk` x `chunk_stays` and following of a site, as many as it has."""
    rng = random_stream(config, site, chunk, PHYSIOLOGY)
    num = min(config.chunk_stays, site.num_stays - chunk * config.chunk_stays)
    state, who = admit(num, site.case_mix, rng), np.arange(num, dtype=np.int32)
    record, endings = _Record(), _Endings(num)
    last_step = int(config.max_stay_days * 24 / STEP_HOURS) - 1
    for step in range(last_step + 1):
        see = Bedside(state)
        u = rng.random((3, len(state)), np.float32)
        dies = u[0] < -np.expm1(-STEP_HOURS * death_hazard(state, see))
        leaves = u[1] < -np.expm1(-STEP_HOURS * discharge_hazard(state, see, site.practice))
        ends = dies | leaves | (step == last_step)
        minute = 1 + np.minimum((u[2] * STEP_MINUTES).astype(np.int32), STEP_MINUTES - 1)
        before = state
        if ends.any():
            endings.add(who[ends], state.keep(ends), step * STEP_MINUTES + minute[ends], dies[ends], rng)
            state = state.keep(~ends)
            see = Bedside(state)
        else:
            before = State(state.matrix.copy())
        done = transition(state, see, site.practice, rng)
        record.add(before, who, ends, minute, _spread(done, ends))
        who = who[~ends]
        if not len(state):
            break
    return record.stays(endings)


class _Record:
    """What is kept of every step."""

    def __init__(self) -> None:
        self._states: list[Floats] = []
        self._columns: list[tuple[npt.NDArray[Any], ...]] = []

    def add(
        self, state: State, who: npt.NDArray[np.int32], ends: Bools, minute: npt.NDArray[np.int32], actions: Actions
    ) -> None:
        step = np.full(len(who), len(self._states), np.int32)
        self._states.append(state.matrix)
        self._columns.append((who, step, ends, minute, *actions))

    def stays(self, endings: "_Endings") -> Stays:
        stay, step, ends, minute, *actions = (np.concatenate(parts) for parts in zip(*self._columns, strict=True))
        state = State(np.concatenate(self._states, axis=1))
        return Stays(
            state=state,
            stay=stay,
            step=step,
            is_last=ends,
            actions=Actions(*actions),
            action_minute=minute,
            end_minute=endings.end_minute,
            died=endings.died,
            leave_minute=endings.leave_minute,
            died_on_ward=endings.died_on_ward,
        )


class _Endings:
    """How the stays of a chunk ended, as far as they have."""

    def __init__(self, num: int) -> None:
        self.end_minute = np.zeros(num, np.int32)
        self.leave_minute = np.zeros(num, np.int64)
        self.died = np.zeros(num, bool)
        self.died_on_ward = np.zeros(num, bool)

    def add(
        self,
        who: npt.NDArray[np.int32],
        state: State,
        minute: npt.NDArray[np.int32],
        dies: Bools,
        rng: np.random.Generator,
    ) -> None:
        """Follow the stays `who`, which leave the ICU at `minute`, to the end of their time in hospital."""
        ward = leave_icu(state, rng)
        to_death = rng.exponential(size=len(who)) / ward.hazard
        minutes = np.maximum(1, (60 * np.minimum(ward.hours, to_death)).astype(np.int64))
        self.end_minute[who] = minute
        self.died[who] = dies
        self.leave_minute[who] = minute + np.where(dies, 0, minutes)
        self.died_on_ward[who] = ~dies & (to_death < ward.hours)


def _spread(actions: Actions, ends: Bools) -> Actions:
    """Actions of the stays that go on -> of all stays of the step; none where the stay ended."""
    spread = []
    for values in actions:
        full = np.zeros(len(ends), bool)
        full[~ends] = values
        spread.append(full)
    return Actions(*spread)
