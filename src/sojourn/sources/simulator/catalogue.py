"""What can be charted: concepts with noise and plausible range, units, panels, kinds of admission."""

from typing import NamedTuple

ADMISSION_KINDS = ("medical", "elective_surgery", "emergency_surgery", "cardiac", "neuro")
UNIT_OF_KIND = ("MICU", "SICU", "TSICU", "CCU", "NSICU")
TYPE_OF_KIND = ("EMERGENCY", "ELECTIVE", "EMERGENCY", "URGENT", "EMERGENCY")


class Concept(NamedTuple):
    """A quantity that hospitals chart."""

    kind: str
    """First part of its local codes: VITAL, LAB or OUTPUT."""
    number: int
    """Makes its local item ids."""
    unit: str
    """Canonical unit."""
    noise: float
    """Standard deviation of the measurement error, in `unit`."""
    relative_noise: float
    """Standard deviation of a measurement error in proportion to the value."""
    low: float
    high: float
    """Plausible range in the canonical unit; values beyond are flagged, never changed."""


class Unit(NamedTuple):
    """local value = concept value x factor + offset, recorded in steps of `tick`."""

    factor: float
    offset: float
    tick: float

    @property
    def scale(self) -> float:
        """Factor back: concept value = local value x scale + shift."""
        return 1.0 / self.factor

    @property
    def shift(self) -> float:
        return -self.offset / self.factor


CONCEPTS: dict[str, Concept] = {
    "heart_rate": Concept("VITAL", 1001, "bpm", 1.5, 0.0, 10, 300),
    "sbp": Concept("VITAL", 1002, "mmHg", 4.0, 0.0, 20, 300),
    "dbp": Concept("VITAL", 1003, "mmHg", 3.0, 0.0, 10, 200),
    "map": Concept("VITAL", 1004, "mmHg", 2.5, 0.0, 15, 250),
    "resp_rate": Concept("VITAL", 1005, "/min", 1.5, 0.0, 2, 80),
    "spo2": Concept("VITAL", 1006, "%", 1.2, 0.0, 40, 100),
    "temperature": Concept("VITAL", 1007, "°C", 0.12, 0.0, 28, 43),
    "fio2": Concept("VITAL", 1008, "%", 0.0, 0.0, 21, 100),
    "gcs_total": Concept("VITAL", 1009, "points", 0.5, 0.0, 3, 15),
    "weight": Concept("VITAL", 1010, "kg", 0.0, 0.01, 25, 350),
    "urine_output": Concept("OUTPUT", 3001, "mL", 0.0, 0.15, 0, 2500),
    "lactate": Concept("LAB", 2001, "mmol/L", 0.0, 0.03, 0.1, 40),
    "creatinine": Concept("LAB", 2002, "mg/dL", 0.0, 0.03, 0.1, 25),
    "bun": Concept("LAB", 2003, "mg/dL", 0.0, 0.03, 1, 250),
    "potassium": Concept("LAB", 2004, "mmol/L", 0.06, 0.0, 1.5, 10),
    "sodium": Concept("LAB", 2005, "mmol/L", 0.8, 0.0, 90, 190),
    "bicarbonate": Concept("LAB", 2006, "mmol/L", 0.5, 0.0, 2, 60),
    "glucose": Concept("LAB", 2007, "mg/dL", 0.0, 0.03, 10, 1500),
    "ph": Concept("LAB", 2008, "pH", 0.008, 0.0, 6.5, 8.0),
    "pco2": Concept("LAB", 2009, "mmHg", 1.0, 0.0, 8, 180),
    "po2": Concept("LAB", 2010, "mmHg", 0.0, 0.04, 15, 700),
    "wbc": Concept("LAB", 2011, "10^9/L", 0.0, 0.04, 0.05, 300),
    "hemoglobin": Concept("LAB", 2012, "g/dL", 0.12, 0.0, 2, 25),
    "platelets": Concept("LAB", 2013, "10^9/L", 0.0, 0.04, 1, 2000),
    "bilirubin_total": Concept("LAB", 2014, "mg/dL", 0.0, 0.03, 0.05, 80),
    "inr": Concept("LAB", 2015, "inr", 0.0, 0.02, 0.5, 20),
}

UNITS: dict[str, dict[str, Unit]] = {
    "heart_rate": {"bpm": Unit(1, 0, 1)},
    "sbp": {"mmHg": Unit(1, 0, 1)},
    "dbp": {"mmHg": Unit(1, 0, 1)},
    "map": {"mmHg": Unit(1, 0, 1)},
    "resp_rate": {"/min": Unit(1, 0, 1)},
    "spo2": {"%": Unit(1, 0, 1)},
    "temperature": {"°C": Unit(1, 0, 0.1), "°F": Unit(1.8, 32, 0.1)},
    "fio2": {"%": Unit(1, 0, 1), "fraction": Unit(0.01, 0, 0.01)},
    "gcs_total": {"points": Unit(1, 0, 1)},
    "weight": {"kg": Unit(1, 0, 0.1), "lb": Unit(2.20462, 0, 1)},
    "urine_output": {"mL": Unit(1, 0, 5)},
    "lactate": {"mmol/L": Unit(1, 0, 0.1), "mg/dL": Unit(9.008, 0, 1)},
    "creatinine": {"mg/dL": Unit(1, 0, 0.1), "umol/L": Unit(88.42, 0, 1)},
    "bun": {"mg/dL": Unit(1, 0, 1), "mmol/L": Unit(0.357, 0, 0.1)},
    "potassium": {"mmol/L": Unit(1, 0, 0.1)},
    "sodium": {"mmol/L": Unit(1, 0, 1)},
    "bicarbonate": {"mmol/L": Unit(1, 0, 1)},
    "glucose": {"mg/dL": Unit(1, 0, 1), "mmol/L": Unit(0.0555, 0, 0.1)},
    "ph": {"pH": Unit(1, 0, 0.01)},
    "pco2": {"mmHg": Unit(1, 0, 1), "kPa": Unit(0.133322, 0, 0.1)},
    "po2": {"mmHg": Unit(1, 0, 1), "kPa": Unit(0.133322, 0, 0.1)},
    "wbc": {"10^9/L": Unit(1, 0, 0.1)},
    "hemoglobin": {"g/dL": Unit(1, 0, 0.1), "g/L": Unit(10, 0, 1), "mmol/L": Unit(0.6206, 0, 0.1)},
    "platelets": {"10^9/L": Unit(1, 0, 1)},
    "bilirubin_total": {"mg/dL": Unit(1, 0, 0.1), "umol/L": Unit(17.1, 0, 1)},
    "inr": {"inr": Unit(1, 0, 0.1)},
}

PANELS: dict[str, tuple[str, ...]] = {
    "chemistry": ("sodium", "potassium", "bicarbonate", "bun", "creatinine", "glucose"),
    "cbc": ("wbc", "hemoglobin", "platelets"),
    "coagulation": ("inr",),
    "liver": ("bilirubin_total",),
    "gas": ("ph", "pco2", "po2"),
    "lactate": ("lactate",),
    "bedside_glucose": ("glucose",),
    "culture": (),
}
"""Orders that go together. A culture has no value; bedside glucose is another device with a code of its own."""

TRIGGERS: dict[str, dict[str, float]] = {
    "chemistry": {"renal": 0.6, "cardio": 0.3},
    "cbc": {"bleeding": 0.8, "inflammation": 0.4},
    "coagulation": {"liver": 0.6, "bleeding": 0.5},
    "liver": {"liver": 0.8, "inflammation": 0.2},
    "gas": {"respiratory": 0.7, "cardio": 0.3},
    "lactate": {"cardio": 0.6, "inflammation": 0.5},
    "bedside_glucose": {"inflammation": 0.1},
    "culture": {"inflammation": 0.9},
}
"""What a clinician who sees the patient reacts to: weights on the organ states, per panel (non-ignorable policies)."""
