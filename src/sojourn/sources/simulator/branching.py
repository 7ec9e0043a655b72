"""True risks: branch the simulator many times from a state and average what the branches do.

Death is not drawn in the branches: each carries the probability of being alive, and what happens in it counts with
that weight (Rao and Blackwell). This takes most of the Monte-Carlo noise out of rare outcomes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.sources.simulator.bedside import Bedside
from sojourn.sources.simulator.charting import Chart
from sojourn.sources.simulator.codes import unit_of
from sojourn.sources.simulator.config import STEP_HOURS, SimulatorConfig, SiteConfig
from sojourn.sources.simulator.dynamics import death_hazard, discharge_hazard, transition
from sojourn.sources.simulator.state import Bools, Floats, State
from sojourn.sources.simulator.trajectories import leave_icu
from sojourn.sources.simulator.treatments import Actions

LACTATE_LIMIT = 4.0
_NEGLIGIBLE = 1e-3
_BLOCK = 8192
_DAY = int(24 / STEP_HOURS)


class Outcome(NamedTuple):
    """Something whose true risk is computed."""

    event: str
    """`OUTCOME//<event>` in labels; the latent one has none."""
    horizon_hours: float | None
    """None: until the ICU stay ends."""


OUTCOMES = {
    "death_24h": Outcome("death", 24.0),
    "death_48h": Outcome("death", 48.0),
    "icu_death": Outcome("icu_death", None),
    "vasopressor_start_24h": Outcome("vasopressor_start", 24.0),
    "ventilation_start_24h": Outcome("ventilation_start", 24.0),
    "rrt_start_24h": Outcome("rrt_start", 24.0),
    "lactate_gt_4_24h": Outcome("lactate_gt_4", 24.0),
    "latent_lactate_gt_4_24h": Outcome("latent_lactate_gt_4", 24.0),
}
"""Outcomes are counted in (t, t + horizon]. `lactate_gt_4` needs somebody to measure, `latent_lactate_gt_4` nobody."""

_STARTS = {"vasopressor_start_24h": "vasopressor_start", "ventilation_start_24h": "ventilation_start",
           "rrt_start_24h": "rrt_start"}  # fmt: skip


class Risks(NamedTuple):
    """True risks of p states, one column per outcome of `OUTCOMES`."""

    risk: npt.NDArray[np.float64]
    """(p, number of outcomes), 0 to 1."""
    standard_error: npt.NDArray[np.float64]
    """Monte-Carlo standard error of `risk`, (p, number of outcomes)."""


def true_risks(state: State, config: SimulatorConfig, site: SiteConfig, rng: np.random.Generator) -> Risks:
    """Risk of every outcome given the complete state now.

    Parameters
    ----------
    state : p states of stays in the ICU of `site`.
    config : `truth.num_replicates` branches are drawn from each state.
    """
    times = config.truth.num_replicates
    num_blocks = max(1, -(-len(state) * times // _BLOCK))
    risk, error = [], []
    for block in np.array_split(np.arange(len(state)), num_blocks):
        values = _Branches(State(state.matrix[:, block]).repeat(times), config, site, rng).run()
        replicates = values.reshape(len(OUTCOMES), len(block), times)
        risk.append(replicates.mean(axis=2, dtype=np.float64).T)
        error.append((replicates.std(axis=2, ddof=1, dtype=np.float64) / np.sqrt(times)).T)
    return Risks(np.concatenate(risk), np.concatenate(error))


class _Branches:
    """Branches on their way: `values` (outcomes x branches) gathers the probability of each outcome in each branch."""

    def __init__(self, state: State, config: SimulatorConfig, site: SiteConfig, rng: np.random.Generator) -> None:
        self._state, self._site, self._rng = state, site, rng
        self._last_hours = (int(config.max_stay_days * 24 / STEP_HOURS) - 1) * STEP_HOURS
        num = len(state)
        self._values = np.zeros((len(OUTCOMES), num), np.float32)
        self._row = {name: row for row, name in enumerate(OUTCOMES)}
        self._branch = np.arange(num)
        self._alive = np.ones(num, np.float32)
        self._happened = np.zeros((len(OUTCOMES), num), bool)
        self._scale = np.float32(unit_of(site, "lactate")[1].scale)

    def run(self) -> Floats:
        """Go on until every branch has left the ICU or is as good as dead."""
        for step in self._steps():
            see = Bedside(self._state)
            dies = (-np.expm1(-STEP_HOURS * death_hazard(self._state, see))).astype(np.float32)
            self._die(step, dies)
            if 1 <= step <= _DAY:
                self._happen("latent_lactate_gt_4_24h", np.exp(self._state["log_lactate"]) > LACTATE_LIMIT)
            self._alive *= 1 - dies
            hazard = discharge_hazard(self._state, see, self._site.practice)
            leaves = self._rng.random(len(dies), np.float32) < -np.expm1(-STEP_HOURS * hazard)
            leaves |= self._state["hours"] >= self._last_hours
            if step < _DAY:
                self._measure(leaves)
            self._leave(step, leaves)
            stay_on = ~leaves & (self._alive > _NEGLIGIBLE)
            self._keep(stay_on)
            done = transition(self._state, Bedside(self._state), self._site.practice, self._rng)
            if step < _DAY:
                self._start(done)
        return self._values

    def _steps(self) -> Iterator[int]:
        step = 0
        while len(self._state):
            yield step
            step += 1

    def _keep(self, mask: Bools) -> None:
        if not mask.all():
            self._state, self._branch, self._alive = self._state.keep(mask), self._branch[mask], self._alive[mask]

    def _die(self, step: int, dies: Floats) -> None:
        for name, limit in (("death_24h", _DAY), ("death_48h", 2 * _DAY), ("icu_death", None)):
            if limit is None or step < limit:
                self._values[self._row[name], self._branch] += self._alive * dies

    def _leave(self, step: int, leaves: Bools) -> None:
        """Add what the ward does to those who leave within the horizon of death."""
        if step >= 2 * _DAY or not leaves.any():
            return
        gone = self._state.keep(leaves)
        ward = leave_icu(gone, self._rng)
        left = (step + self._rng.random(len(gone), np.float32)) * STEP_HOURS
        for name, horizon in (("death_24h", 24.0), ("death_48h", 48.0)):
            hours = np.minimum(ward.hours, np.maximum(horizon - left, 0.0))
            self._values[self._row[name], self._branch[leaves]] += self._alive[leaves] * (
                1 - np.exp(-ward.hazard * hours)
            )

    def _happen(self, name: str, now: Bools) -> None:
        """Count an outcome the first time it happens in a branch, with the branch's weight."""
        row = self._row[name]
        new = now & ~self._happened[row, self._branch]
        self._values[row, self._branch[new]] += self._alive[new]
        self._happened[row, self._branch[new]] = True

    def _measure(self, leaves: Bools) -> None:
        charted = Chart(self._site, self._state, leaves, self._rng).lactate()
        high = np.zeros(len(leaves), bool)
        high[charted.column[charted.value * self._scale > LACTATE_LIMIT]] = True
        self._happen("lactate_gt_4_24h", high)

    def _start(self, done: Actions) -> None:
        for name, action in _STARTS.items():
            self._happen(name, getattr(done, action))
