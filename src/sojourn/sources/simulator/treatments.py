"""What the team does: starts and ends of treatments, from what it sees at the bedside and how it is inclined."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from sojourn.sources.simulator.bedside import Bedside, clock_hour, relu, urine_rate
from sojourn.sources.simulator.config import STEP_HOURS, Practice
from sojourn.sources.simulator.state import Bools, Floats, State

_COURSE_HOURS = 144.0
"""Mean length of a course of antibiotics."""


class Actions(NamedTuple):
    """What the team did in one step, per stay; starts and ends are charted."""

    vasopressor_start: Bools
    vasopressor_end: Bools
    ventilation_start: Bools
    ventilation_end: Bools
    rrt_start: Bools
    rrt_end: Bools
    antibiotic_start: Bools
    fluids: Bools
    red_cells: Bools


def treat(s: State, see: Bedside, practice: Practice, u: Floats) -> Actions:
    """Decide for one step and write the running treatments into `s`.

    Parameters
    ----------
    s : n states.
    see : their bedside view.
    u : (7, n) uniform random numbers.
    """
    low = (practice.map_threshold - see.map) / 2.5
    vasopressor = _vasopressor(s, see, low, u[0])
    ventilation = _ventilation(s, see, practice, u[1])
    rrt = _rrt(s, see, practice, u[2])
    antibiotic = _antibiotic(s, practice, u[3], u[4])
    fluids = u[5] < 0.2 * expit(low * 0.8 - 1.6 - 1.5 * s["volume"] + 1.2 * (s["log_lactate"] - 0.7))
    s["volume"] += 0.4 * fluids
    red_cells = (u[6] < 0.15) & (s["hemoglobin"] < 7.2)
    return Actions(*vasopressor, *ventilation, *rrt, antibiotic, fluids, red_cells)


def _is_day(s: State) -> Bools:
    hour = clock_hour(s)
    day: Bools = (hour >= 8) & (hour < 18)
    return day


def _run(s: State, name: str, running: Floats) -> None:
    """Write a treatment (dose or 0/1) and for how long it has run."""
    s[name] = running
    s[f"{name}_hours"] = np.where(s[name] > 0, s[f"{name}_hours"] + STEP_HOURS, 0.0)


def _vasopressor(s: State, see: Bedside, low: Floats, u: Floats) -> tuple[Bools, Bools]:
    """Started below the pressure threshold, sooner after fluids; the dose follows the pressure."""
    on = s["vasopressor"] > 0
    start = ~on & (u < 0.75 * expit(low - 3.2 + 0.5 * s["clinician"] + 0.8 * (s["volume"] > 0.3)))
    end = on & (s["vasopressor"] < 0.035) & (see.map > 70) & (u < 0.35)
    dose = np.clip(s["vasopressor"] * np.exp(np.clip((67.0 - see.map) * 0.04, -0.35, 0.4)), 0.02, 1.5)
    _run(s, "vasopressor", np.where(start, 0.06 + 0.025 * relu(low), np.where(on & ~end, dose, 0.0)))
    return start, end


def _ventilation(s: State, see: Bedside, practice: Practice, u: Floats) -> tuple[Bools, Bools]:
    """Started for hypoxaemia, laboured breathing, acidosis or coma, or on arrival; weaned by day when lungs allow."""
    on = s["ventilated"] > 0
    breathing = relu(190 - see.pf) / 26 + relu(see.resp_rate - 26) / 4
    short = breathing + relu(7.25 - see.ph) / 0.04 + relu(s["neuro"] - 2.0) / 0.4
    arrives = (s["arrives_ventilated"] > 0) & (s["hours"] == 0)
    chance = 0.5 * expit(1.5 * short - 8.0 + practice.intubation + 0.3 * s["clinician"])
    start = ~on & (arrives | (u < chance))
    ready = (see.pf > 190) & (s["neuro"] < 1.7) & (s["cardio"] < 2.2) & (s["ventilated_hours"] > 5)
    end = on & ready & (u < np.where(_is_day(s), 0.05, 0.012))
    _run(s, "ventilated", ((on & ~end) | start).astype(np.float32))
    return start, end


def _rrt(s: State, see: Bedside, practice: Practice, u: Floats) -> tuple[Bools, Bools]:
    """Started for failing kidneys, acidosis or anuria, rather by day; ended after a day when the kidneys recover."""
    on = s["rrt"] > 0
    kidneys = 2.0 * (s["renal"] - 2.4) + 0.4 * (s["creatinine"] - 3.0) + relu(14.0 - urine_rate(s)) / 6
    need = kidneys + relu(7.22 - see.ph) / 0.05
    by_day = np.where(_is_day(s), 1.5, 0.7)
    start = ~on & (u < 0.06 * by_day * expit(need - 2.0 + practice.rrt + 0.3 * s["clinician"]))
    end = on & (s["renal"] < 1.7) & (s["rrt_hours"] > 24) & (u < 0.03)
    _run(s, "rrt", ((on & ~end) | start).astype(np.float32))
    return start, end


def _antibiotic(s: State, practice: Practice, u: Floats, u_end: Floats) -> Bools:
    """Started on suspicion of infection; a course ends by itself."""
    suspicion = 1.5 * s["inflammation"] - 4.9 + practice.antibiotics + 0.3 * s["clinician"] + 0.4 * (s["kind"] == 2)
    start: Bools = (s["antibiotic"] == 0) & (u < 0.5 * expit(suspicion))
    s["antibiotic"] = np.where(start, 1.0, s["antibiotic"] * (u_end > STEP_HOURS / _COURSE_HOURS))
    return start
