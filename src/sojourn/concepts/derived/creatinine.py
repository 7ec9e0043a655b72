"""Stages of acute kidney injury by creatinine."""

from typing import Literal

import numpy as np

from sojourn.concepts.derived.axis import DAY
from sojourn.concepts.derived.record import Floats, Points
from sojourn.concepts.derived.steps import rolling_min

TOLERANCE = 1e-6
"""Values are 32-bit numbers: 1.2 must still be 1.5 x 0.8."""


def creatinine_stages(
    creatinine: Points, baseline_days: float = 7, *, closed: Literal["both", "right"] = "both"
) -> Floats:
    """Stage 0 to 3 at each creatinine in mg/dL, against the lowest of the last 48 h and of `baseline_days`.

    `closed` says whether a value exactly 48 h (or `baseline_days`) old counts.

    Notes
    -----
    With c the value, a the lowest of 48 h and b the lowest of the baseline window (both with c itself):
    stage 1 if c >= a + 0.3 or c >= 1.5 b; stage 2 if c >= 2 b; stage 3 if c >= 3 b, or c >= 4.0 and stage 1.

    References
    ----------
    KDIGO clinical practice guideline for acute kidney injury. Kidney Int Suppl 2012;2:1-138, table 2.
    """
    value = creatinine.value
    rise = value - rolling_min(creatinine, 2 * DAY, closed=closed) >= 0.3 - TOLERANCE
    baseline = rolling_min(creatinine, round(baseline_days * DAY), closed=closed)
    ratio = value / baseline * (1 + TOLERANCE)
    is_first = rise | (ratio >= 1.5)
    stage = np.where(is_first, 1.0, 0.0)
    stage[ratio >= 2] = 2.0
    stage[(ratio >= 3) | ((value >= 4.0 - TOLERANCE) & is_first)] = 3.0
    return stage
