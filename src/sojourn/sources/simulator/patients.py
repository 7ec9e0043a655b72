"""Who arrives: facts, random effects and state at ICU admission."""

import numpy as np

from sojourn.sources.simulator.bedside import relu
from sojourn.sources.simulator.catalogue import ADMISSION_KINDS
from sojourn.sources.simulator.config import CaseMix
from sojourn.sources.simulator.state import DEVIATION_ROWS, DEVIATIONS, ORGANS, Floats, State

_DISEASES = {"chf": (-1.9, 0.035), "ckd": (-1.9, 0.03), "copd": (-1.9, 0.02), "diabetes": (-1.0, 0.01),
             "liver": (-2.9, 0.0), "cancer": (-2.2, 0.02)}  # fmt: skip
"""Log-odds at age 64, and their slope per year."""

# columns follow ADMISSION_KINDS
_SEVERITY = np.array([0.25, -0.45, 0.25, -0.05, 0.0], np.float32)
_INFECTED = np.array([0.38, 0.03, 0.22, 0.06, 0.06], np.float32)
_BLEEDING = np.array([0.08, 0.06, 0.20, 0.03, 0.02], np.float32)
_VENTILATED = np.array([0.12, 0.42, 0.30, 0.10, 0.34], np.float32)
_INSULT = np.array(
    [[0.5, 0.5, 0.9, 1.0, 0.1], [1.0, 0.2, 0.6, 0.4, 0.4], [0.4, 0.1, 0.3, 0.2, 0.0], [0.3, 0.1, 0.2, 0.1, 1.3],
     [0.3, 0.0, 0.2, 0.2, 0.0]], np.float32)  # fmt: skip
"""Mean acute insult at admission of cardio, respiratory, renal, neuro, liver (rows)."""


def admit(num: int, mix: CaseMix, rng: np.random.Generator) -> State:
    """Draw the states of `num` stays at ICU admission.

    Returns
    -------
    State
        ``hours`` is 0, no treatment runs, ``clock`` is the minute of the day of admission.
    """
    s = State.zeros(num)
    shares = np.array([mix.shares.get(kind, 0.0) for kind in ADMISSION_KINDS])
    kind = rng.choice(len(ADMISSION_KINDS), num, p=shares / shares.sum())
    s["kind"] = kind
    s["clock"] = _arrival_minutes(kind, rng)
    _draw_person(s, mix, rng)
    severity = rng.standard_normal(num, np.float32) + np.float32(mix.severity) + _SEVERITY[kind]
    _draw_baselines(s, rng)
    _draw_insult(s, kind, severity, rng)
    _draw_pools(s, rng)
    sd = np.array([sd for sd, _ in DEVIATIONS.values()], np.float32)[:, None]
    s.matrix[DEVIATION_ROWS] = sd * rng.standard_normal((len(DEVIATIONS), num), np.float32)
    return s


def _arrival_minutes(kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Minute of the day: surgery ends in the afternoon, the others come at any time, fewer at night."""
    planned = rng.normal(15.0, 2.5, len(kind))
    other = np.where(rng.random(len(kind)) < 0.6, rng.normal(16.0, 4.5, len(kind)), rng.uniform(0, 24, len(kind)))
    hours = np.where(kind == ADMISSION_KINDS.index("elective_surgery"), planned, other)
    value: np.ndarray = np.floor(hours * 60) % 1440
    return value


def _draw_person(s: State, mix: CaseMix, rng: np.random.Generator) -> None:
    num = len(s)
    z = rng.standard_normal((4, num), np.float32)
    s["age"] = np.clip(mix.mean_age + 16.5 * z[0], 18, 95)
    s["male"] = rng.random(num) < 0.56
    s["weight"] = (76 + 9 * s["male"]) * np.exp(0.22 * z[1])
    older = s["age"] - 64
    count = np.zeros(num, np.float32)
    for name, (odds, slope) in _DISEASES.items():
        has = rng.random(num) < 1 / (1 + np.exp(-(odds + mix.comorbidity + slope * older)))
        count += has
        if name in ("copd", "diabetes"):
            s[name] = has
        elif name == "ckd":
            s["base_creatinine"] = np.where(has, 0.95, 0.0)
        elif name == "chf":
            s["set_cardio"] = 0.35 * has
        elif name == "liver":
            s["set_liver"] = 0.9 * has
    s["comorbidities"] = count
    s["frailty"] = 0.8 * z[2] + 0.025 * older + 0.25 * (count - 1)
    s["immunity"] = np.exp(0.35 * z[3] - 0.1 * s["frailty"])
    s["fever"] = rng.normal(1.0, 0.6, num)
    s["match"] = rng.random(num) < 0.82
    s["clinician"] = rng.standard_normal(num, np.float32)


def _draw_baselines(s: State, rng: np.random.Generator) -> None:
    z = rng.standard_normal((12, len(s)), np.float32)
    s["base_map"] = 86 + 8.5 * z[0] + 0.05 * (s["age"] - 64)
    s["base_pp"] = 57 + 11 * z[1] + 0.25 * (s["age"] - 64)
    s["base_hr"] = 82 + 12 * z[2] - 0.1 * (s["age"] - 64)
    s["base_rr"] = 17.3 + 2.2 * z[3]
    s["base_pf"] = 400 * np.exp(0.18 * z[4] - 0.2 * s["copd"])
    s["base_creatinine"] = 0.85 * np.exp(s["base_creatinine"] + 0.32 * z[5] + 0.12 * s["male"])
    s["base_sodium"] = 138.4 + 4.6 * z[6]
    s["base_glucose"] = 121 * np.exp(0.15 * z[7] + 0.28 * s["diabetes"])
    s["base_wbc"] = 9.4 * np.exp(0.46 * z[8])
    s["base_platelets"] = 195 * np.exp(0.5 * z[9])
    s["base_bilirubin"] = 0.55 * np.exp(0.95 * z[10])
    s["base_inr"] = 1.16 * np.exp(0.16 * z[11] + 0.6 * (rng.random(len(s)) < 0.1))


def _draw_insult(s: State, kind: np.ndarray, severity: Floats, rng: np.random.Generator) -> None:
    num = len(s)
    infected = rng.random(num) < _INFECTED[kind]
    s["load"] = 0.25 + infected * rng.gamma(4.0, 0.55, num) * np.exp(0.15 * severity)
    s["inflammation"] = s["load"] * rng.uniform(0.5, 1.0, num)
    s["bleeding"] = (rng.random(num) < _BLEEDING[kind]) * rng.exponential(1.2, num)
    s["arrives_ventilated"] = rng.random(num) < _VENTILATED[kind] * np.exp(0.3 * severity)
    z = rng.standard_normal((5, num), np.float32)
    acute = rng.gamma(0.7, 1.0, (5, num)).astype(np.float32) / 0.7
    # one in four does not get over all of it
    lasting = (rng.random(num, np.float32) < 0.25) * rng.uniform(0.2, 1.0, num)
    for row, organ in enumerate(ORGANS[1:]):
        # what stays with the patient, and what passes
        s[f"set_{organ}"] = s[f"set_{organ}"] - 0.3 + 0.36 * severity + 0.45 * z[row]
        insult = _INSULT[row][kind] * acute[row] * np.exp(0.25 * severity)
        s[f"set_{organ}"] += lasting * insult
        s[organ] = s[f"set_{organ}"] + (1 - lasting) * insult
    s["trajectory"] = 0.5 * rng.standard_normal(num, np.float32)
    s["volume"] = rng.normal(-0.2, 0.4, num) - 0.5 * s["bleeding"]


def _draw_pools(s: State, rng: np.random.Generator) -> None:
    num = len(s)
    z = rng.standard_normal((6, num), np.float32)
    cardio, renal, liver = np.maximum(s["cardio"], 0), s["renal"], np.maximum(s["liver"], 0)
    s["log_lactate"] = np.log(1.25) + 0.3 * cardio + 0.12 * s["inflammation"] + 0.3 * z[0]
    s["creatinine"] = s["base_creatinine"] * np.exp(0.45 * renal)
    s["bun"] = 16 * s["base_creatinine"] / 0.9 * np.exp(0.3 * renal + 0.3 * z[1])
    s["hemoglobin"] = np.clip(10.7 + 1.9 * z[2] + 0.5 * s["male"] - 1.0 * s["bleeding"], 4.5, 19)
    s["log_platelets"] = np.log(s["base_platelets"]) - 0.06 * s["inflammation"] - 0.15 * liver
    s["log_bilirubin"] = np.log(s["base_bilirubin"]) + 0.5 * liver + 0.1 * z[3]
    s["fio2"] = np.clip(0.21 + 0.1 * relu(s["respiratory"]), 0.21, 0.6)
