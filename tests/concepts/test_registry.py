"""Rows of the registry are validated: what a concept and a code rule may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sojourn.concepts import concept_table
from sojourn.concepts.registry import MEASURED, CodeRule, Concept, base_name, concepts

LACTATE = {"name": "lactate", "kind": "lab", "aggregation": "last", "description": "lactate", "min": 0.1, "max": 35}


def test_the_concepts_of_the_package_are_valid() -> None:
    assert list(concepts()) == concept_table()["name"].to_list()


def test_every_measured_concept_has_limits_and_words() -> None:
    for concept in concepts().values():
        if concept.kind in MEASURED:
            assert concept.min is not None, concept.name
            assert concept.label_has, concept.name


def test_the_66_concepts_of_yaib_and_ricu_have_a_name_here() -> None:
    known = {concept.yaib: concept.name for concept in concepts().values() if concept.yaib}
    assert len(known) == 66
    assert (known["crea"], known["norepi_rate"], known["samp"]) == ("creatinine", "norepinephrine//start", "culture")


def test_a_unit_means_the_same_ucum_everywhere() -> None:
    pairs = {(concept.unit, concept.ucum) for concept in concepts().values() if concept.unit}
    assert len({unit for unit, _ in pairs}) == len(pairs)
    assert all(ucum for _, ucum in pairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Lactate"}, "pattern"),
        ({"min": 40}, "min below max"),
        ({"max": None}, "min below max"),
        ({"min": None, "max": None}, "kind lab must have min and max"),
        ({"loinc": "2524-8"}, "check digit"),
        ({"loinc": "lactate"}, "check digit"),
        ({"label_has": "(lac"}, "regular expression"),
        ({"kind": "laboratory"}, "lab"),
        ({"units": "mmol/L"}, "Extra inputs"),
    ],
)
def test_what_is_wrong_with_a_concept_is_said(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Concept.model_validate(LACTATE | change)


@given(st.integers(1, 9_999_999), st.integers(0, 9))
def test_one_check_digit_of_ten_is_right(number: int, digit: int) -> None:
    """The LOINC code of a number has exactly one check digit, so nine of ten typing errors are found."""
    right = [d for d in range(10) if _is_loinc(f"{number}-{d}")]
    assert len(right) == 1
    assert _is_loinc(f"{number}-{digit}") == (digit == right[0])


def _is_loinc(code: str) -> bool:
    try:
        Concept.model_validate(LACTATE | {"loinc": code})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scale": 0}, "must not be 0"),
        ({"scale": "inf"}, "finite"),
        ({"match": "regex", "code": "^LAB//("}, "regular expression"),
        ({"specimen": "ART"}, "arterial"),
        ({"role": "alarm"}, "limit"),
        ({"code": ""}, "at least 1"),
        ({"count": -1}, "greater than or equal"),
    ],
)
def test_what_is_wrong_with_a_code_is_said(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CodeRule.model_validate({"source": "ours", "code": "LAB//1", "concept": "lactate"} | change)


def test_names_below_a_concept_belong_to_it() -> None:
    assert base_name("dopamine//start//other unit") == "dopamine//start"
    assert base_name("culture//blood") == "culture//blood"
