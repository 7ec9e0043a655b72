"""Rates, units and medians by site: counted by hand, the same from the data set and from its store."""

from pathlib import Path

import polars as pl
import pytest

from helpers.unit_hospitals import write_hospitals
from sojourn.concepts.coverage import FEWEST_SUBJECTS, coverage
from sojourn.concepts.units import infer_units
from sojourn.events.build import build_store

CODES = {
    "LAB//cr": ("creatinine", "umol/L", 0.0113096, 0.0),
    "LAB//cr mg": ("creatinine", "mg/dL", 1.0, 0.0),
    "VITAL//hr": ("heart_rate", "bpm", 1.0, 0.0),
}
RECORDED = {
    ("north", "LAB//cr"): [88.42, 88.42, 176.84, 176.84, 44.21, 88.42],
    ("north", "LAB//cr mg"): [1.0, 1.0],
    ("south", "VITAL//hr"): [60.0, 80.0, 100.0, 61.0, 81.0, 101.0, 62.0, 82.0, 102.0],
    ("south", "LAB//cr"): [90.0],
}


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    return write_hospitals(tmp_path / "hospitals", RECORDED, CODES, per_subject=3)


def row(table: pl.DataFrame, concept: str, site: str) -> dict[str, object]:
    return table.filter((pl.col("concept") == concept) & (pl.col("site") == site)).row(0, named=True)


def test_rates_are_events_per_subject_and_day(hospitals: Path) -> None:
    """South: 3 subjects with 3 heart rates in one day each and a fourth with creatinine alone: 9 in 4 days."""
    found = row(coverage(hospitals), "heart_rate", "south")
    assert found["rate"] == pytest.approx(9 / 4)
    assert (found["num_events"], found["num_values"], found["num_subjects"], found["unit"]) == (9, 9, 3, "bpm")
    assert found["decision"] is None  # nobody has looked at the units


def test_codes_of_one_concept_are_counted_together(hospitals: Path) -> None:
    found = row(coverage(hospitals), "creatinine", "north")
    assert (found["num_events"], found["num_subjects"]) == (8, 3)


def test_a_median_of_few_subjects_is_not_told(tmp_path: Path) -> None:
    code = {"VITAL//hr": ("heart_rate", "bpm", 1.0, 0.0)}
    for num in (FEWEST_SUBJECTS - 1, FEWEST_SUBJECTS):
        data = write_hospitals(tmp_path / str(num), {("one", "VITAL//hr"): [80.0] * num}, code)
        median = row(coverage(data), "heart_rate", "one")["median"]
        assert median == (None if num < FEWEST_SUBJECTS else 80.0)


def test_a_median_needs_enough_subjects_with_a_value(tmp_path: Path) -> None:
    """Five subjects have the code, and one of them a value: that is nobody else's."""
    code = {"VITAL//hr": ("heart_rate", "bpm", 1.0, 0.0)}
    recorded = {("one", "VITAL//hr"): [80.0, *[float("nan")] * (FEWEST_SUBJECTS - 1)]}
    data = write_hospitals(tmp_path / "data", recorded, code)
    build_store(tmp_path / "store", [data])
    for place in (data, tmp_path / "store"):
        found = row(coverage(place), "heart_rate", "one")
        assert (found["num_subjects"], found["num_values"], found["median"]) == (FEWEST_SUBJECTS, 1, None)


def test_a_store_tells_the_same_as_its_data_set(hospitals: Path, tmp_path: Path) -> None:
    infer_units(hospitals)
    build_store(tmp_path / "store", [hospitals])
    of_data, of_store = coverage(hospitals), coverage(tmp_path / "store")
    assert of_data.drop("decision").equals(of_store.drop("decision"))
    assert set(of_data["decision"]) == {"declared"}
    assert of_store["decision"].null_count() == len(of_store)  # a store keeps what is worth a look


def test_refused_values_are_counted_beside_the_concept(tmp_path: Path) -> None:
    """Heart rates of 1 a minute are none: they stay under their local code, and both pictures say so."""
    code = {"VITAL//hr": ("heart_rate", "bpm", 1.0, 0.0)}
    recorded = {("odd", "VITAL//hr"): [1.0, 1.1, 0.9, 1.2, 1.0, 1.3, 1.1, 1.0], ("usual", "VITAL//hr"): [80.0] * 8}
    data = write_hospitals(tmp_path / "data", recorded, code)
    infer_units(data)
    build_store(tmp_path / "store", [data])
    for place in (data, tmp_path / "store"):
        found = row(coverage(place), "heart_rate", "odd")
        assert (found["decision"], found["num_refused"], found["num_events"], found["rate"]) == ("refused", 8, 0, 0.0)
