"""What a perfect measurement would show: from the latent state to vital signs and laboratory values."""

import numpy as np

from sojourn.sources.simulator.state import Bools, Floats, State

_HILL = 2.7
_P50 = 26.8


def relu(values: Floats) -> Floats:
    """max(values, 0)."""
    return np.maximum(values, np.float32(0))


def clock_hour(s: State) -> Floats:
    """Hour of the day, 0 to 24."""
    hour: Floats = (s["clock"] / 60 + s["hours"]) % np.float32(24)
    return hour


def mean_pressure(s: State) -> Floats:
    """Mean arterial pressure, mmHg: a set point, less with vasoplegia and too little volume, more with vasopressor."""
    dose = s["vasopressor"]
    lift = 24.0 * dose / (dose + 0.12) / (1 + 0.12 * relu(s["cardio"]))
    pressure = s["base_map"] - 7.0 * s["cardio"] - 7.0 * relu(-s["volume"]) + lift + s["dev_map"]
    value: Floats = np.clip(pressure, 25, 180)
    return value


def pf_ratio(s: State) -> Floats:
    """Arterial oxygen tension over inspired fraction, mmHg: falls with lung dysfunction, better when ventilated."""
    value: Floats = np.clip(
        s["base_pf"] * np.exp(s["dev_pf"] - 0.38 * s["respiratory"] + 0.15 * s["ventilated"]), 40, 600
    )
    return value


def bicarbonate(s: State) -> Floats:
    """Bicarbonate, mmol/L: used up by lactate, lost with renal dysfunction unless replaced."""
    acid = 0.85 * (np.exp(s["log_lactate"]) - 1.2) + 1.5 * s["renal"] * (1 - 0.8 * s["rrt"])
    return np.clip(25.2 - acid + 0.8 * s["copd"] + s["dev_hco3"], 4, 48)


def carbon_dioxide(s: State, hco3: Floats) -> Floats:
    """Arterial carbon dioxide tension, mmHg: retained by failing lungs, blown off in acidosis."""
    retained = 4.0 * s["respiratory"] * (1 - 0.7 * s["ventilated"]) + 7.0 * s["copd"]
    value: Floats = np.clip(
        39.0 + retained - 0.75 * relu(25.0 - hco3) + 0.7 * relu(hco3 - 25.0) + s["dev_pco2"], 12, 130
    )
    return value


def acidity(hco3: Floats, pco2: Floats) -> Floats:
    """pH by Henderson and Hasselbalch."""
    return np.clip(6.1 + np.log10(hco3 / (0.0307 * pco2)), 6.7, 7.8)


def saturation(po2: Floats) -> Floats:
    """Oxygen saturation, %, by Hill's equation."""
    power = po2**_HILL
    return 100 * power / (power + np.float32(_P50**_HILL))


def coma_scale(s: State) -> Floats:
    """Glasgow coma scale before rounding, 3 to 15: falls with neurological dysfunction and sedation on a ventilator."""
    return np.clip(15.2 - 2.4 * relu(s["neuro"]) - 7.0 * s["ventilated"] + s["dev_gcs"], 3, 15)


def urine_rate(s: State) -> Floats:
    """Urine flow, mL/h."""
    exponent = s["dev_urine"] - 0.5 * s["renal"] - 0.22 * relu(s["cardio"]) + 0.12 * s["volume"] - 0.9 * s["rrt"]
    value: Floats = 1.3 * s["weight"] * np.exp(exponent)
    return value


def potassium(s: State, ph: Floats) -> Floats:
    """Potassium, mmol/L: up with renal dysfunction and acidosis, down with renal replacement."""
    value = 4.0 + 0.25 * s["renal"] * (1 - s["rrt"]) + 2.2 * relu(7.38 - ph) + s["dev_potassium"]
    return np.clip(value, 2.0, 9.0)


class Bedside:
    """What the treating team sees of stays now; computed once per step.

    Attributes are float32 arrays of length n in the concepts' units.
    """

    __slots__ = ("hco3", "map", "pco2", "pf", "ph", "po2", "resp_rate", "spo2")

    def __init__(self, s: State) -> None:
        self.map = mean_pressure(s)
        self.pf = pf_ratio(s)
        self.po2 = self.pf * s["fio2"]
        self.spo2 = saturation(self.po2)
        self.hco3 = bicarbonate(s)
        self.pco2 = carbon_dioxide(s, self.hco3)
        self.ph = acidity(self.hco3, self.pco2)
        spontaneous = s["base_rr"] + 2.8 * s["respiratory"] + 12.0 * relu(7.33 - self.ph)
        self.resp_rate = np.clip(
            np.where(s["ventilated"] > 0, 0.4 * spontaneous + 11.0, spontaneous) + s["dev_rr"], 4, 60
        )


def true_values(s: State) -> dict[str, Floats]:
    """Value that every concept would show without measurement error.

    Parameters
    ----------
    s : n states.

    Returns
    -------
    dict
        Concept -> float32 (n,) in the concept's unit; `urine_output` is a rate in mL/h.
    """
    see = Bedside(s)
    pulse = np.clip(s["base_pp"] - 2.5 * s["cardio"] + s["dev_pp"], 12, 130)
    temperature = 36.8 + 0.36 * s["inflammation"] * s["fever"] + s["dev_temp"]
    rate = (
        s["base_hr"] + 3.0 * s["cardio"] + 3.5 * s["inflammation"] + 5.0 * relu(-s["volume"]) + 5.0 * (temperature - 37)
    )
    lactate = np.exp(s["log_lactate"])
    glucose = s["base_glucose"] * np.exp(0.05 * s["inflammation"] + 0.06 * relu(s["cardio"]) + s["dev_glucose"])
    return {
        "heart_rate": np.clip(rate + s["dev_hr"], 25, 220),
        "sbp": see.map + 0.64 * pulse,
        "dbp": np.maximum(see.map - 0.34 * pulse, 15),
        "map": see.map,
        "resp_rate": see.resp_rate,
        "spo2": see.spo2,
        "temperature": np.clip(temperature, 31, 42),
        "fio2": 100 * s["fio2"],
        "gcs_total": coma_scale(s),
        "weight": s["weight"],
        "urine_output": urine_rate(s),
        "lactate": lactate,
        "creatinine": s["creatinine"],
        "bun": s["bun"],
        "potassium": potassium(s, see.ph),
        "sodium": s["base_sodium"] + s["dev_sodium"],
        "bicarbonate": see.hco3,
        "glucose": np.clip(glucose, 25, 1200),
        "ph": see.ph,
        "pco2": see.pco2,
        "po2": see.po2,
        "wbc": s["base_wbc"] * np.exp(0.13 * s["inflammation"] + s["dev_wbc"]),
        "hemoglobin": s["hemoglobin"],
        "platelets": np.exp(s["log_platelets"]),
        "bilirubin_total": np.exp(s["log_bilirubin"]),
        "inr": s["base_inr"] * np.exp(0.22 * relu(s["liver"]) + s["dev_inr"]),
    }


def is_unstable(s: State, see: Bedside) -> Bools:
    """Whether organ support runs or is close: nobody is discharged like this."""
    unstable: Bools = (s["vasopressor"] > 0) | (s["ventilated"] > 0) | (s["rrt"] > 0) | (see.map < 58) | (see.pf < 120)
    return unstable
