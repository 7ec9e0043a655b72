"""Whole stays: the state of a chunk of stays on the grid from ICU admission to its end, and how each one ended."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.sources.simulator.bedside import Bedside
from sojourn.sources.simulator.config import STEP_HOURS, SimulatorConfig, SiteConfig
from sojourn.sources.simulator.dynamics import (
    Actions,
    death_hazard,
    discharge_hazard,
    transition,
    ward_hazard,
)
from sojourn.sources.simulator.patients import admit
from sojourn.sources.simulator.state import Bools, Floats, State

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


def leave_icu(state: State, see: Bedside, rng: np.random.Generator) -> WardStay:
    """Draw the time on the ward, and the hazard there, of stays that leave the ICU alive."""
    hours = np.exp(4.3 + 0.15 * np.clip(state["frailty"], -2, 3) + 0.7 * rng.standard_normal(len(state), np.float32))
    return WardStay(np.clip(hours, 6, 1500), ward_hazard(state, see))


def simulate_chunk(config: SimulatorConfig, site: SiteConfig, chunk: int) -> Stays:
    """Simulate the stays number `chunk` x `chunk_stays` and following of a site, as many as it has."""
    rng = random_stream(config, site, chunk, PHYSIOLOGY)
    num = min(config.chunk_stays, site.num_stays - chunk * config.chunk_stays)
    state, who = admit(num, site.case_mix, rng), np.arange(num, dtype=np.int32)
    end_minute, leave_minute = np.zeros(num, np.int32), np.zeros(num, np.int64)
    died, died_on_ward = np.zeros(num, bool), np.zeros(num, bool)
    last_step = int(config.max_stay_days * 24 / STEP_HOURS) - 1
    states: list[Floats] = []
    columns: list[tuple[npt.NDArray[np.int32], Bools, npt.NDArray[np.int32]]] = []
    actions: list[Actions] = []
    for step in range(last_step + 1):
        see = Bedside(state)
        u = rng.random((3, len(state)), np.float32)
        dies = u[0] < 1 - np.exp(-STEP_HOURS * death_hazard(state, see))
        leaves = ~dies & (u[1] < 1 - np.exp(-STEP_HOURS * discharge_hazard(state, see, site.practice)))
        ends = dies | leaves | (step == last_step)
        minute = 1 + np.minimum((u[2] * STEP_MINUTES).astype(np.int32), STEP_MINUTES - 1)
        states.append(state.matrix.copy())
        columns.append((who, ends, minute))
        if ends.any():
            gone = who[ends]
            died[gone] = dies[ends]
            end_minute[gone] = step * STEP_MINUTES + minute[ends]
            _leave(state.keep(ends), rng, gone, end_minute, leave_minute, died, died_on_ward)
            state, who = state.keep(~ends), who[~ends]
            see = Bedside(state)
        done = transition(state, see, site.practice, rng)
        actions.append(_spread(done, ends))
        if not len(state):
            break
    stay, is_last, action_minute = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    step_of = np.repeat(np.arange(len(columns), dtype=np.int32), [len(part[0]) for part in columns])
    joined = Actions(*(np.concatenate(parts) for parts in zip(*actions, strict=True)))
    return Stays(State(np.concatenate(states, axis=1)), stay, step_of, is_last, joined, action_minute,
                 end_minute, died, leave_minute, died_on_ward)  # fmt: skip


def _leave(
    state: State,
    rng: np.random.Generator,
    gone: npt.NDArray[np.int32],
    end_minute: npt.NDArray[np.int32],
    leave_minute: npt.NDArray[np.int64],
    died: Bools,
    died_on_ward: Bools,
) -> None:
    """Follow the stays `gone` that end in this step to the end of their time in hospital."""
    ward = leave_icu(state, Bedside(state), rng)
    to_death = rng.exponential(size=len(gone)) / ward.hazard
    minutes = np.maximum(1, (60 * np.minimum(ward.hours, to_death)).astype(np.int64))
    leave_minute[gone] = end_minute[gone] + np.where(died[gone], 0, minutes)
    died_on_ward[gone] = ~died[gone] & (to_death < ward.hours)


def _spread(actions: Actions, ends: Bools) -> Actions:
    """Actions of the stays that go on -> of all stays of the step; none where the stay ended."""
    spread = []
    for values in actions:
        full = np.zeros(len(ends), bool)
        full[~ends] = values
        spread.append(full)
    return Actions(*spread)
