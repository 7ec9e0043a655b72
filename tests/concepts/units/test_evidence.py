"""Likelihoods of units: densities integrate to one, shifts cost what they should, borders part what they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.concepts.units.evidence import Values, border, density, log_likelihoods, logarithms, unmix
from sojourn.concepts.units.known import Expected, Unit, expected_of, expected_table, units_of


def expected(concept: str) -> Expected:
    found = expected_of(concept)
    assert found is not None
    return found


def values(numbers: list[float] | np.ndarray, num_subjects: int | None = None) -> Values:
    value, num = np.unique(np.asarray(numbers, np.float64), return_counts=True)
    return Values(value, num.astype(np.float64), len(numbers) if num_subjects is None else num_subjects)


@pytest.mark.parametrize("concept", expected_table()["concept"])
def test_densities_integrate_to_one(concept: str) -> None:
    about = expected(concept)
    z = np.linspace(about.middle - 25 * about.left, about.middle + 25 * about.right, 40001)
    for extra in (0.0, about.site_sd):
        assert np.trapezoid(density(z, about, extra_sd=extra), z) == pytest.approx(1, abs=1e-4)


def test_values_of_one_subject_count_for_less() -> None:
    hundred = np.full(100, 5.0)
    assert values(hundred, 1).effective == pytest.approx(100 / (1 + 99 * 0.8))
    assert values(hundred, 100).effective == 60  # more says no more
    assert values([5.0], 1).effective == 1


@given(st.floats(1, 500), st.sampled_from(units_of("temperature")))
def test_slope_is_the_derivative_of_the_logarithm(value: float, unit: Unit) -> None:
    z, slope = logarithms(np.array([value, value * 1.000001]), unit)
    if np.isfinite(z).all():
        assert (z[1] - z[0]) / math.log(1.000001) == pytest.approx(slope[0], rel=1e-3)
    else:
        assert slope[0] == 0


def test_implausible_values_have_no_density() -> None:
    z, slope = logarithms(np.array([4.0, 40.0]), Unit("%", 1.0, 0.0), 21, 100)
    assert np.isnan(z[0])
    assert slope.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("recorded", "place"), [(1.15, 0), (4.6, 1), (2.3, 2), (40.0, 3)])
def test_the_unit_of_ionized_calcium_shows_in_few_values(recorded: float, place: int) -> None:
    """In mmol/L, mg/dL, mEq/L; and 40 is in none of them, where the last hypothesis wins."""
    found = log_likelihoods(values([recorded] * 5, 5), units_of("ionized_calcium"), expected("ionized_calcium"))
    assert found.argmax() == place
    assert found[place] - np.delete(found, place).max() > math.log(100)


def test_overlapping_units_stay_close() -> None:
    """Magnesium in mg/dL and in mEq/L differ by a fifth: one subject's values cannot settle it."""
    found = log_likelihoods(values([1.8, 1.9, 2.0], 1), units_of("magnesium"), expected("magnesium"))
    assert abs(found[0] - found[2]) < math.log(10)


def test_shares_of_a_mixture_are_found() -> None:
    fractions, percent = [0.4, 0.5, 1.0, 0.35], [40.0, 50.0, 100.0, 30.0]
    found = unmix(values(fractions * 3 + percent * 7, 80), units_of("fio2"), expected("fio2"))
    assert found.share[:2] == pytest.approx([0.7, 0.3])
    assert found.stray == 0
    assert found.certainty > 0.99


def test_values_of_no_unit_are_strays() -> None:
    found = unmix(values([4.0] * 3 + [40.0] * 7, 10), units_of("fio2"), expected("fio2"))
    assert found.stray == pytest.approx(0.3)


def test_a_border_lies_between_the_medians() -> None:
    own, mg_per_dl, _ = units_of("ionized_calcium")
    at, wrong = border(own, mg_per_dl, expected("ionized_calcium"))
    assert 1.8 < at < 2.9
    assert wrong < 0.005
    kg, lb, _ = units_of("weight")
    assert border(kg, lb, expected("weight"))[1] > 0.02  # nobody can part kilograms and pounds one by one
