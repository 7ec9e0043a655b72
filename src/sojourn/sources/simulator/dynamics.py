"""How the state moves over one step of the grid: organs, pools, shocks, and the hazards of death and discharge."""

import numpy as np

from sojourn.sources.simulator.bedside import Bedside, clock_hour, is_unstable, relu
from sojourn.sources.simulator.config import STEP_HOURS, Practice
from sojourn.sources.simulator.state import DEVIATION_ROWS, DEVIATIONS, Floats, State
from sojourn.sources.simulator.treatments import Actions, treat

_MOST_LOG_LACTATE = np.log(np.float32(28))
_SD = np.array([sd for sd, _ in DEVIATIONS.values()], np.float32)[:, None]
_KEEP = np.exp(-STEP_HOURS / np.array([tau for _, tau in DEVIATIONS.values()], np.float32))[:, None]
_KICK = _SD * np.sqrt(1 - _KEEP**2)


def severity(s: State, see: Bedside) -> Floats:
    """Log-hazard of death up to a factor and a constant: weighted organ dysfunction, frailty and acidosis."""
    score = (
        0.50 * relu(s["cardio"])
        + 0.34 * relu(s["respiratory"])
        + 0.18 * relu(s["renal"])
        + 0.30 * relu(s["neuro"])
        + 0.22 * relu(s["liver"])
        + 0.12 * relu(s["inflammation"])
        + 0.28 * s["frailty"]
        + 0.35 * (s["log_lactate"] - np.float32(0.4))
        + 2.5 * relu(7.25 - see.ph)
        + 0.04 * relu(55.0 - see.map)
        + 0.03 * relu(85.0 - see.spo2)
    )
    value: Floats = score.astype(np.float32)
    return value


def death_hazard(s: State, see: Bedside) -> Floats:
    """Hazard of death in the ICU per hour."""
    value: Floats = np.minimum(np.exp(-9.1 + 1.45 * severity(s, see)), 0.5)
    return value


def discharge_hazard(s: State, see: Bedside, practice: Practice) -> Floats:
    """Hazard of leaving the ICU alive per hour: only without organ support, mostly by day, later when sicker."""
    hour = clock_hour(s)
    day = np.where((hour >= 9) & (hour < 19), 1.7, 0.4)
    settled = 1 / (1 + np.exp(-(s["hours"] - 14.0) / 5.0))
    well = np.exp(-1.0 * relu(severity(s, see) - 0.1))
    hazard = 0.045 * practice.discharge * day * settled * well
    return np.where(is_unstable(s, see), 0.0, hazard).astype(np.float32)


def ward_hazard(s: State, see: Bedside) -> Floats:
    """Hazard of death per hour on the ward, fixed at the state in which the stay left the ICU."""
    value: Floats = np.minimum(np.exp(-9.6 + 1.2 * severity(s, see)), 0.1)
    return value


def transition(s: State, see: Bedside, practice: Practice, rng: np.random.Generator) -> Actions:
    """Move `s` in place by one step, given that no stay ends in it; `see` is the bedside view at its beginning."""
    u = rng.random((13, len(s)), np.float32)
    z = rng.standard_normal((12 + len(DEVIATIONS), len(s)), np.float32)
    actions = treat(s, see, practice, u)
    _shocks(s, u[9:], z[7:10])
    _organs(s, see, z[:7])
    _pools(s, see, z[10:12], actions)
    s.matrix[DEVIATION_ROWS] = _KEEP * s.matrix[DEVIATION_ROWS] + _KICK * z[12:]
    s["hours"] += STEP_HOURS
    return actions


def _shocks(s: State, u: Floats, z: Floats) -> None:
    """New infection, bleeding, and acute events of heart and lung, as jumps of Poisson processes."""
    infection = u[0] < STEP_HOURS * (0.0008 + 0.0016 * s["ventilated"]) * np.exp(0.3 * s["frailty"])
    s["load"] += infection * np.exp(0.55 + 0.35 * z[0])
    surgical = (s["kind"] == 1) | (s["kind"] == 2)
    bleed = u[1] < STEP_HOURS * np.where(surgical & (s["hours"] < 36), 0.0022, 0.0005) * np.exp(0.4 * relu(s["liver"]))
    s["bleeding"] += bleed * np.exp(0.2 + 0.5 * z[1])
    event = u[2] < STEP_HOURS * 0.0022 * np.exp(0.35 * s["frailty"])
    jump = event * np.exp(0.25 + 0.45 * z[2])
    cardiac = u[3] < 0.5
    s["cardio"] += jump * cardiac
    s["respiratory"] += jump * ~cardiac


def _organs(s: State, see: Bedside, z: Floats) -> None:
    """Mean-reverting processes, each drawn to what infection, shock, hypoxia and treatments make of its set point."""
    load, infl, volume = s["load"], relu(s["inflammation"]), s["volume"]
    growth = load * (
        0.009 * (1 - load / 6) - 0.011 * s["immunity"] - 0.035 * s["antibiotic"] * (0.15 + 0.85 * s["match"])
    )
    s["load"] = relu(load + STEP_HOURS * growth)
    shock, path = relu(s["cardio"] - 0.8), s["trajectory"]
    low = relu(62.0 - see.map)
    goals = {
        "inflammation": (load, 8.0, 0.25),
        "cardio": (s["set_cardio"] + 0.6 * infl + 0.3 * s["bleeding"] + 0.5 * relu(-volume) + 0.5 * path, 10.0, 0.35),
        "respiratory": (s["set_respiratory"] + 0.4 * infl + 0.35 * relu(volume) + 0.5 * path, 20.0, 0.32),
        "renal": (s["set_renal"] + 0.32 * infl + 0.5 * shock + 0.05 * low + 0.3 * path, 30.0, 0.25),
        "neuro": (s["set_neuro"] + 0.2 * infl + 0.02 * relu(88.0 - see.spo2) + 0.3 * path, 30.0, 0.28),
        "liver": (s["set_liver"] + 0.22 * infl + 0.35 * shock, 48.0, 0.2),
    }
    for row, (organ, (goal, tau, sd)) in enumerate(goals.items()):
        here = s[organ]
        kick = np.float32(sd * np.sqrt(2 * STEP_HOURS / tau))
        s[organ] = np.maximum(here + np.float32(STEP_HOURS / tau) * (goal - here) + kick * z[row], -0.8)
    s["trajectory"] = (
        path + np.float32(STEP_HOURS / 60) * (-path) + np.float32(0.85 * np.sqrt(2 * STEP_HOURS / 60)) * z[6]
    )
    leak = volume / 18 + 0.025 * infl + 0.22 * s["bleeding"]
    s["volume"] = np.clip(volume - STEP_HOURS * leak, -2.5, 3.0)
    s["bleeding"] = s["bleeding"] * np.float32(np.exp(-STEP_HOURS / 10))


def _pools(s: State, see: Bedside, z: Floats, actions: Actions) -> None:
    """Substances that fill and empty, and the inspired oxygen that follows the need."""
    cardio, liver, on_rrt = relu(s["cardio"]), relu(s["liver"]), s["rrt"]
    goal = (
        np.float32(np.log(1.2))
        + 0.33 * relu(cardio - 0.3)
        + 0.35 * relu(cardio - 1.8)
        + 0.12 * s["inflammation"]
        + 0.12 * liver
        + 0.02 * relu(62 - see.map)
    )
    pull = np.float32(STEP_HOURS / 5) * (goal - s["log_lactate"])
    s["log_lactate"] = np.minimum(s["log_lactate"] + pull + np.float32(0.3 * np.sqrt(0.2)) * z[0], _MOST_LOG_LACTATE)
    filtered = s["base_creatinine"] * np.exp(0.63 * s["renal"])
    goal = np.where(on_rrt > 0, np.minimum(filtered, 1.6), filtered)
    rate = np.where(on_rrt > 0, STEP_HOURS / 14, STEP_HOURS / 20)
    s["creatinine"] = np.clip(s["creatinine"] + rate * (goal - s["creatinine"]), 0.2, 16)
    urea = 19.0 * (s["base_creatinine"] / 0.9) ** 0.8 * np.exp(0.42 * s["renal"] + 0.05 * s["inflammation"])
    goal = np.where(on_rrt > 0, np.minimum(urea, 35.0), urea)
    s["bun"] = np.clip(s["bun"] + np.float32(STEP_HOURS / 26) * (goal - s["bun"]), 2, 200)
    loss = 0.004 + 0.16 * s["bleeding"]
    s["hemoglobin"] = np.clip(s["hemoglobin"] - STEP_HOURS * loss + 1.1 * actions.red_cells + 0.05 * z[1], 3.5, 19)
    goal = np.log(s["base_platelets"]) - 0.12 * s["inflammation"] - 0.22 * liver
    s["log_platelets"] += np.float32(STEP_HOURS / 40) * (goal - s["log_platelets"])
    goal = np.log(s["base_bilirubin"]) + 1.05 * liver
    s["log_bilirubin"] += np.float32(STEP_HOURS / 30) * (goal - s["log_bilirubin"])
    on_vent = s["ventilated"] > 0
    need = np.clip(np.where(on_vent, 115.0, 86.0) / see.pf, np.where(on_vent, 0.35, 0.21), np.where(on_vent, 1.0, 0.6))
    s["fio2"] += 0.35 * (need - s["fio2"])
