"""The tables of units and of expected values fit each other and the concepts."""

import math

import polars as pl
import pytest

from sojourn.concepts import code_concepts, concept_table
from sojourn.concepts.units.known import (
    expected_of,
    expected_table,
    find_unit,
    plain,
    unit_of_conversion,
    unit_table,
    units_of,
)

LIMITS = {row["name"]: row for row in concept_table().iter_rows(named=True)}


@pytest.mark.parametrize("concept", unit_table()["concept"].unique().sort())
def test_the_first_unit_of_a_concept_is_its_own(concept: str) -> None:
    own, *others = units_of(concept)
    assert (own.scale, own.offset) == (1.0, 0.0)
    stated = LIMITS[concept]["unit"]
    assert stated is None or find_unit(concept, stated) == own
    assert all(unit.scale > 0 and not unit.is_as(own.scale, own.offset) for unit in others)


@pytest.mark.parametrize("concept", expected_table()["concept"])
def test_expected_values_are_plausible_and_in_order(concept: str) -> None:
    row = expected_table().filter(pl.col("concept") == concept).row(0, named=True)
    limits = LIMITS[concept]
    assert limits["min"] <= row["q05"] < row["q50"] < row["q95"] <= limits["max"]
    assert row["site_sd"] > 0


def test_no_two_units_of_a_concept_share_a_spelling() -> None:
    for concept in unit_table()["concept"].unique():
        rows = unit_table().filter(pl.col("concept") == concept)
        spelt = [{plain(s) for s in (row["unit"], *row["names"].split("|")) if s} for row in rows.iter_rows(named=True)]
        assert sum(map(len, spelt)) == len(set().union(*spelt)), concept


def test_conversions_of_the_code_tables_are_known_units() -> None:
    """A conversion in the package's tables that no unit has would be a second truth, or a mistake in one of them."""
    with_units = unit_table()["concept"].unique().implode()
    rules = code_concepts().filter(pl.col("concept").is_in(with_units) & (pl.col("scale") > 0))
    unknown = [
        (row["code"], row["concept"], row["scale"])
        for row in rules.iter_rows(named=True)
        if unit_of_conversion(row["concept"], row["scale"], row["offset"]) is None
    ]
    assert not unknown


@pytest.mark.parametrize(
    ("concept", "unit", "recorded", "value"),
    [
        ("temperature", "°F", 98.6, 37.0),
        ("creatinine", "µmol/L", 88.4, 1.0),
        ("glucose", "mmol/L", 5.0, 90.1),
        ("magnesium", "mEq/L", 1.38, 1.677),
        ("ionized_calcium", "mg/dL", 4.6, 1.148),
        ("fio2", "fraction", 0.4, 40.0),
        ("hemoglobin", "mmol/L", 6.2, 9.99),
        ("po2", "kPa", 12.0, 90.0),
        ("bun", "mmol/L", 7.14, 20.0),
        ("bun", "mg/dL urea", 42.8, 20.0),
    ],
)
def test_worked_conversions(concept: str, unit: str, recorded: float, value: float) -> None:
    found = find_unit(concept, unit)
    assert found is not None
    assert recorded * found.scale + found.offset == pytest.approx(value, rel=2e-3)


def test_expected_spreads_are_those_of_the_quantiles() -> None:
    expected = expected_of("heart_rate")
    assert expected is not None
    assert expected.middle == pytest.approx(math.log(86))
    assert expected.middle + 1.6449 * expected.right == pytest.approx(math.log(120), abs=1e-4)
    assert expected_of("no such concept") is None
