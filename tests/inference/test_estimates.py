"""Monte-Carlo errors and intervals by hand and against scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest

from sojourn.inference.estimates import conditional, wilson


def test_intervals_of_worked_chances() -> None:
    risk = conditional(np.array([[0.2], [0.0]]))
    assert risk.probability.tolist() == [0.2, 0.0]
    assert (risk.lower.tolist(), risk.upper.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert np.isnan(risk.standard_error).all()
    flat = conditional(np.array([[0.0, 0.0], [1.0, 1.0], [0.28, 0.32]]))
    assert flat.standard_error.tolist() == pytest.approx([0, 0, 0.02])
    # Student's 95 % quantile of one degree of freedom is 6.3138; the guard is 0.01 * 1 / 2, resp. 0.01 * 0.49 / 2.
    guarded = 6.3138 * np.sqrt(0.01 / 2)
    assert flat.upper.tolist() == pytest.approx([guarded, 1, 0.3 + 6.3138 * np.sqrt(0.0004 + 0.0049 / 2)], rel=1e-4)
    assert flat.lower.tolist() == pytest.approx([0, 1 - guarded, 0], rel=1e-4)


def test_wilson_intervals_are_those_of_scipy() -> None:
    hits, count = np.array([0, 3, 32, 64]), 64
    risk = wilson(hits / count, count)
    for i, hit in enumerate(hits):
        reference = binomtest(int(hit), count).proportion_ci(0.9, method="wilson")
        assert (risk.lower[i], risk.upper[i]) == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert risk.standard_error == pytest.approx(np.sqrt(risk.probability * (1 - risk.probability) / count))
    assert np.isnan(wilson(np.array([1.0]), 1).standard_error).all()
