"""The comparison of grids: which cells count as equal, and that every variable of YAIB has its items."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from sojourn.tasks.grid_variables import yaib_variables

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("yaib_grid")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_cells_are_counted_by_what_stands_in_them(benchmark: ModuleType) -> None:
    cells = pl.DataFrame(
        {
            "theirs": [None, 7.4, 0.0, 100.0, 5.0, None, 36.7],
            "ours": [None, 7.4000001, 0.0, 100.1, None, 5.0, 36.6999],
        }
    )
    found = benchmark._agreement(cells, "theirs", "ours")
    assert found == {"neither": 1, "equal": 3, "differ": 1, "only_ours": 1, "only_theirs": 1}


def test_words_are_compared_as_they_are(benchmark: ModuleType) -> None:
    cells = pl.DataFrame({"theirs": ["Female", None, "Male"], "ours": ["Female", None, None]})
    found = benchmark._agreement(cells, "theirs", "ours")
    assert found == {"neither": 1, "equal": 1, "differ": 0, "only_ours": 0, "only_theirs": 1}


def test_every_variable_has_items_of_one_of_its_concepts() -> None:
    items = pl.read_csv(BENCHMARKS / "yaib_items.csv")
    variables = yaib_variables()
    assert set(items["variable"]) == set(variables)
    for name, concept, pattern in items.select("variable", "concept", "pattern").iter_rows():
        assert concept in variables[name].concepts
        re.compile(pattern)


@pytest.mark.parametrize(
    ("variable", "code", "fits"),
    [
        ("mch", "LAB//MCH//pg", True),
        ("mch", "LAB//MCHC//g/dL", False),
        ("alt", "LAB//ALT (SGPT)//Units/L", True),
        ("be", "LAB//Base Deficit//mEq/L", False),
        ("urine", "OUTPUT//Urinary Catheter Output: Indwelling//ml", True),
        ("urine", "OUTPUT//Voided Amount//ml", False),
    ],
)
def test_patterns_take_the_items_of_yaib(variable: str, code: str, fits: bool) -> None:
    items = pl.read_csv(BENCHMARKS / "yaib_items.csv").filter(variable=variable)
    assert any(re.search(pattern, code) for pattern in items["pattern"]) == fits
