"""The complete state of many stays at one time: a float32 matrix with a named row for each quantity."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
"""Float32 in the state; what is computed from it may be wider."""
Bools = npt.NDArray[np.bool_]

FIXED = (
    "age", "male", "weight", "kind", "comorbidities", "copd", "diabetes", "frailty", "immunity", "fever",
    "set_cardio", "set_respiratory", "set_renal", "set_neuro", "set_liver",
    "base_map", "base_pp", "base_hr", "base_rr", "base_pf", "base_creatinine", "base_sodium", "base_glucose",
    "base_wbc", "base_platelets", "base_bilirubin", "base_inr", "match", "clinician", "arrives_ventilated", "clock",
)  # fmt: skip
"""Facts and random effects of a stay: never change after admission."""

ORGANS = ("inflammation", "cardio", "respiratory", "renal", "neuro", "liver")
"""Dysfunction of organ systems: 0 is well, 1 mild, 2 clear, 3 and above failing."""

MOVING = (
    *ORGANS, "trajectory", "load", "volume", "bleeding", "log_lactate", "creatinine", "bun", "hemoglobin",
    "log_platelets", "log_bilirubin", "fio2",
)  # fmt: skip
"""What moves by its own equation."""

TREATMENTS = (
    "vasopressor", "vasopressor_hours", "ventilated", "ventilated_hours", "rrt", "rrt_hours", "antibiotic", "hours",
)  # fmt: skip
"""Treatments that run (dose or 0/1), for how long they have, and hours since ICU admission."""

DEVIATIONS = {
    "dev_map": (5.5, 2.0), "dev_pp": (7.0, 4.0), "dev_hr": (6.0, 3.0), "dev_rr": (2.6, 2.0), "dev_temp": (0.34, 8.0),
    "dev_pf": (0.2, 6.0), "dev_pco2": (5.5, 8.0), "dev_hco3": (3.2, 24.0), "dev_potassium": (0.42, 16.0),
    "dev_sodium": (1.8, 36.0), "dev_glucose": (0.26, 6.0), "dev_wbc": (0.17, 24.0), "dev_inr": (0.08, 24.0),
    "dev_urine": (0.45, 4.0), "dev_gcs": (0.5, 8.0),
}  # fmt: skip
"""Fluctuation of each measured quantity around what organs and treatments make it: (standard deviation, hours)."""

ROWS = (*FIXED, *MOVING, *TREATMENTS, *DEVIATIONS)
INDEX = {name: row for row, name in enumerate(ROWS)}
DEVIATION_ROWS = slice(INDEX["dev_map"], INDEX["dev_gcs"] + 1)


class State:
    """The state of n stays; ``state["cardio"]`` is a view of one row, so writing into it changes the state.

    Nothing else influences the future: given the state, past and future are independent.
    """

    __slots__ = ("matrix",)

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix

    @classmethod
    def zeros(cls, num: int) -> "State":
        return cls(np.zeros((len(ROWS), num), np.float32))

    def __getitem__(self, name: str) -> Floats:
        row: Floats = self.matrix[INDEX[name]]
        return row

    def __setitem__(self, name: str, values: npt.ArrayLike) -> None:
        self.matrix[INDEX[name]] = values

    def __len__(self) -> int:
        return int(self.matrix.shape[1])

    def __iter__(self) -> Iterator[str]:
        return iter(ROWS)

    def keep(self, mask: Bools) -> "State":
        """The stays where `mask` is true, as a copy."""
        return State(np.compress(mask, self.matrix, axis=1))

    def repeat(self, times: int) -> "State":
        """Each stay `times` times in a row."""
        return State(np.repeat(self.matrix, times, axis=1))
