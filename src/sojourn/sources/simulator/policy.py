"""When something is looked at: rounds of vital signs and orders of laboratory panels.

Every order is a chance drawn from what holds in its own step (state, clock, treatments, vital signs charted then), so
that the state of the stay stays all there is to know about its future.
"""

import numpy as np
import numpy.typing as npt

from sojourn.sources.simulator.catalogue import PANELS, TRIGGERS
from sojourn.sources.simulator.config import STEP_HOURS, Policy, SiteConfig
from sojourn.sources.simulator.state import Bools, Floats, State

Minutes = npt.NDArray[np.int32]
NOT_NOW = -1
_STEP_MINUTES = int(STEP_HOURS * 60)
_SPREAD_MINUTES = 15
_MOST_PER_DAY = 8.0
_AVERAGE = {"renal": 0.35, "cardio": 0.6, "bleeding": 0.1, "inflammation": 0.4, "liver": 0.3, "respiratory": 0.4}


class Clock:
    """Where exact hours fall into steps: minutes after the beginning of the step, `NOT_NOW` where none does."""

    def __init__(self, state: State) -> None:
        start = np.round(state["clock"]).astype(np.int32) + np.round(state["hours"] * 60).astype(np.int32)
        to_hour = 60 - start % 60  # 1 to 60: an event at the very beginning of a step belongs to the step before
        self.minute: Minutes = np.where(to_hour <= _STEP_MINUTES, to_hour, NOT_NOW)
        self.hour: npt.NDArray[np.int32] = ((start + to_hour) // 60) % 24

    def every(self, hours: int) -> Minutes:
        """Minute of the exact hour where it is divisible by `hours`."""
        return np.where(self.hour % hours == 0, self.minute, NOT_NOW)

    def at(self, hour: int) -> Minutes:
        """Minute of the exact hour where it is `hour`."""
        return np.where(self.hour == hour, self.minute, NOT_NOW)


def rounds(state: State, clock: Clock, policy: Policy, rng: np.random.Generator) -> Minutes:
    """Minute at which vital signs are taken in each step, `NOT_NOW` if they are not.

    Parameters
    ----------
    state : m states at the beginning of steps.

    Returns
    -------
    int32 (m,)
    """
    minute = clock.every(policy.vitals_interval_hours)
    if policy.kind == "non_ignorable":
        worry = 0.6 * state["cardio"] + 0.5 * state["respiratory"] + 0.3 * state["inflammation"] - 0.7
        chance = 1 / (1 + np.exp(-(policy.extra_rounds + policy.slope * worry)))
        extra = (minute == NOT_NOW) & (rng.random(len(minute), np.float32) < chance)
        return np.where(extra, np.where(clock.minute != NOT_NOW, clock.minute, _SPREAD_MINUTES), minute)
    # others look at charted treatments at most: half-hourly under a vasopressor
    extra = (minute == NOT_NOW) & (state["vasopressor"] > 0) & (rng.random(len(minute), np.float32) < 0.25)
    return np.where(extra, np.where(clock.minute != NOT_NOW, clock.minute, _SPREAD_MINUTES), minute)


def orders(
    panel: str, state: State, clock: Clock, site: SiteConfig, rng: np.random.Generator, charted_map: Floats
) -> Minutes:
    """Minute at which a panel is taken in each step, `NOT_NOW` if it is not.

    Parameters
    ----------
    panel : one of `catalogue.PANELS`.
    state : m states at the beginning of steps.
    charted_map : (m,) mean arterial pressure charted in the step, mmHg; NaN where none was.

    Returns
    -------
    int32 (m,)
    """
    policy = site.policy
    num = len(state)
    u = rng.random((3, num), np.float32)
    anytime = 1 + (rng.random(num, np.float32) * (_STEP_MINUTES - 1)).astype(np.int32)
    minute = np.full(num, NOT_NOW, np.int32)
    rate = _triggered_rate(panel, state, policy)
    minute = np.where(u[0] < 1 - np.exp(-rate * np.float32(STEP_HOURS / 24)), anytime, minute)
    if policy.kind == "protocol":
        bundle = _bundle(panel, state, clock, policy, charted_map, u[1])
        # a bundle is taken at one moment, so its panels share an instant
        minute = np.where(bundle, np.where(clock.minute != NOT_NOW, clock.minute, _SPREAD_MINUTES), minute)
    routine = clock.at(policy.morning_hour)
    admission = np.where(state["hours"] == 0, _SPREAD_MINUTES, NOT_NOW)
    routine = np.where(admission != NOT_NOW, admission, routine)
    due = (routine != NOT_NOW) & (u[2] < policy.routine.get(panel, 0.0))
    return np.where(due, routine, minute)


def _triggered_rate(panel: str, state: State, policy: Policy) -> Floats:
    """Orders per day outside routine and bundles."""
    base = policy.triggered.get(panel, 0.0)
    if policy.kind == "non_ignorable":
        exponent = sum(
            weight * (np.maximum(state[organ], -0.5) - _AVERAGE[organ]) for organ, weight in TRIGGERS[panel].items()
        )
        return np.minimum(base * np.exp(policy.slope * exponent), _MOST_PER_DAY)
    rate = np.full(len(state), base, np.float32)
    if panel == "gas":
        rate *= 1 + 3 * state["ventilated"]
    elif panel == "lactate":
        rate *= 1 + 3 * (state["vasopressor"] > 0)
    elif panel == "chemistry":
        rate *= 1 + 2 * state["rrt"]
    return rate


def _bundle(panel: str, state: State, clock: Clock, policy: Policy, charted_map: Floats, u: Floats) -> Bools:
    """Shock bundle and fixed controls under organ support: rules on what is charted."""
    if panel not in ("lactate", "gas", "culture", "chemistry"):
        return np.zeros(len(state), bool)
    shock = (charted_map < 65) & (u < policy.bundle)
    if panel == "culture":
        return shock & (state["hours"] < 48)
    if panel == "chemistry":
        return shock & (u < 0.3 * policy.bundle)
    supported = state["vasopressor"] > 0 if panel == "lactate" else state["ventilated"] > 0
    every = 6 if panel == "lactate" else 8
    control: Bools = supported & (clock.every(every) != NOT_NOW) & (u < 0.9)
    return shock | control


assert all(panel in TRIGGERS for panel in PANELS)
