"""Decisions: the declared unit where the values fit it, another where they say so, and no guess where they do not."""

import numpy as np
import pytest

from sojourn.concepts.units.decide import Candidate, candidate, decide
from sojourn.concepts.units.declared import Declared
from sojourn.concepts.units.evidence import Values
from sojourn.concepts.units.known import Unit, find_unit


def weigh(concept: str, declared: str | None, numbers: list[float], num_subjects: int | None = None) -> Candidate:
    unit = find_unit(concept, declared)
    value, num = np.unique(np.asarray(numbers, np.float64), return_counts=True)
    values = Values(value, num.astype(np.float64), len(numbers) if num_subjects is None else num_subjects)
    return candidate(Declared("LAB//x", concept, unit, unit or Unit("", 1.0, 0.0)), values)


CREATININE = [0.6, 0.7, 0.8, 0.8, 0.9, 1.0, 1.1, 1.4, 2.2, 4.1]


def test_a_declared_unit_that_fits_is_kept() -> None:
    (found,) = decide([weigh("creatinine", "mg/dL", CREATININE)])
    assert (found.kind, found.reason) == ("declared", "fits")
    assert found.unit == find_unit("creatinine", "mg/dL")
    assert found.confidence > 0.99


def test_values_overrule_a_declared_unit() -> None:
    (found,) = decide([weigh("creatinine", "mg/dL", [x * 88.42 for x in CREATININE])])
    assert (found.kind, found.reason) == ("inferred", "contradicts_declared")
    assert found.unit is not None
    assert found.unit.name == "µmol/L"


def test_a_unit_that_nobody_declared_is_inferred() -> None:
    (found,) = decide([weigh("temperature", None, [97.5, 98.6, 99.1, 100.4, 96.8, 98.2])])
    assert (found.kind, found.reason) == ("inferred", "nothing_declared")
    assert found.unit is not None
    assert found.unit.name == "°F"


def test_overlapping_units_are_refused_where_nothing_is_declared() -> None:
    """Magnesium in mg/dL and mEq/L differ by a fifth, no more than hospitals do."""
    (found,) = decide([weigh("magnesium", None, [1.7, 1.8, 1.8, 1.9, 1.9, 2.0, 1.7, 1.8, 2.1, 1.6, 1.8])])
    assert (found.kind, found.reason, found.unit) == ("refused", "units_overlap", None)


def test_few_values_are_refused_as_few() -> None:
    (found,) = decide([weigh("magnesium", None, [1.8])])
    assert (found.kind, found.reason) == ("refused", "too_few_values")


def test_values_of_no_unit_are_refused() -> None:
    """Weights in kilograms that were divided by 2.2 once more, as one hospital of eICU has them."""
    weights = [22.3, 28.3, 31.6, 32.0, 32.8, 36.9, 37.1, 39.5, 39.8, 41.5, 41.8]
    (found,) = decide([weigh("weight", "kg", weights)])
    assert (found.kind, found.reason, found.unit) == ("refused", "fits_no_unit", None)


def test_other_sites_are_part_of_the_prior() -> None:
    """Two values of a site say little; that the code's other sites are all in the other unit says the rest."""
    few = weigh("hemoglobin", "g/dL", [7.0, 7.4], 1)
    others = [weigh("hemoglobin", "g/dL", [5.6, 6.0, 6.2, 6.4, 7.1, 8.0] * 3) for _ in range(8)]
    alone = decide([few])[0]
    together = decide([few, *others])[0]
    assert alone.kind == "declared"
    assert together.kind != "declared"
    assert all(found.kind == "inferred" for found in decide([few, *others])[1:])


def test_a_mixture_is_parted_value_by_value() -> None:
    (found,) = decide([weigh("fio2", "%", [0.4, 0.5, 1.0, 0.21, 40, 50, 60, 100, 21, 35])])
    assert (found.kind, found.unit) == ("mixed", None)
    fraction, percent = found.intervals
    assert (fraction.unit.name, percent.unit.name) == ("fraction", "%")
    assert fraction.low <= np.float32(0.21)
    assert 1.0 <= fraction.high < percent.low <= 21
    assert 100 <= percent.high < 101


def test_litres_a_minute_are_left_out_of_percent() -> None:
    (found,) = decide([weigh("fio2", "%", [4.0, 2.0, 6.0] + [40.0, 50.0, 60.0, 100.0, 30.0, 35.0] * 5)])
    assert (found.kind, found.reason) == ("mixed", "some_implausible")
    (percent,) = found.intervals
    assert percent.low == pytest.approx(21, rel=1e-3)


def test_one_odd_value_is_an_error_and_not_a_unit() -> None:
    (found,) = decide([weigh("fio2", "%", [0.4] + [40.0, 50.0, 60.0, 100.0] * 10)])
    assert (found.kind, found.unit) == ("declared", find_unit("fio2", "%"))


def test_a_concept_without_expected_values_is_left_as_declared() -> None:
    (found,) = decide([weigh("norepinephrine//start", None, [0.1, 0.2])])
    assert (found.kind, found.reason) == ("declared", "not_checked")
    assert found.unit == Unit("", 1.0, 0.0)
    assert np.isnan(found.confidence)


def test_zeros_alone_decide_nothing() -> None:
    (found,) = decide([weigh("bands", "%", [])])
    assert (found.kind, found.reason) == ("declared", "no_values")
