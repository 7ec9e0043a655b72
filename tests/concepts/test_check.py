"""Labels, roles and dictionaries: an id whose words do not fit its concept is found."""

import polars as pl
import pytest

from sojourn.concepts.check import check_dictionary, check_rules, label_problem
from sojourn.concepts.registry import CodeRule, concepts


def rule(**changes: object) -> CodeRule:
    return CodeRule.model_validate({"source": "ours", "code": "LAB//1//mg/dL", "concept": "creatinine"} | changes)


@pytest.mark.parametrize(
    ("concept", "label"),
    [
        ("urine_output", "TF Residual"),
        ("urine_output", "GU Irrigant/Urine Volume Out"),
        ("spo2", "SpO2 Desat Limit"),
        ("spo2", "O2 Saturation Pulseoxymetry Alarm - Low"),
        ("resp_rate", "Respiratory Rate (Set)"),
        ("resp_rate", "Respiratory Rate (spontaneous)"),
        ("temperature", "Skin Temperature"),
        ("temperature", "Inspired Gas Temp."),
        ("rass", "Goal Richmond-RAS Scale"),
        ("gcs_motor", "GCS - Verbal Response"),
        ("gcs_verbal", "GCSVerbalApacheIIValue"),
        ("creatinine", "Creatinine, Urine"),
        ("creatinine", "Creatine Kinase (CK)"),
        ("glucose", "Lactate"),
        ("mch", "MCHC"),
        ("sbp", "Arterial Blood Pressure diastolic"),
    ],
)
def test_words_that_do_not_fit_are_found(concept: str, label: str) -> None:
    assert label_problem(concepts()[concept], label)


@pytest.mark.parametrize(
    ("concept", "label"),
    [
        ("urine_output", "Foley"),
        ("resp_rate_set", "Respiratory Rate (Set)"),
        ("spo2_alarm_low", "SpO2 Desat Limit"),
        ("tube_feed_residual", "TF Residual"),
        ("temperature", "Temp Kern"),
        ("hemoglobin", None),
    ],
)
def test_words_that_fit_pass(concept: str, label: str | None) -> None:
    assert label_problem(concepts()[concept], label) is None


def test_unknown_concepts_roles_and_repeated_rows_are_found() -> None:
    rules = [
        (2, rule(label="Creatinine")),
        (3, rule(concept="creatinin", code="LAB//2")),
        (4, rule(role="limit", code="LAB//3")),
        (5, rule()),
    ]
    found = check_rules(rules, concepts())
    assert [(problem.line, problem.column) for problem in found] == [(3, "concept"), (4, "role"), (5, "code")]
    assert "Did you mean 'creatinine'?" in found[0].message
    assert "line 2" in found[2].message


def test_ids_and_labels_are_those_of_the_dictionary() -> None:
    dictionary = pl.DataFrame({"id": ["1", "2"], "label": ["Creatinine", "Sodium"]})
    rules = [
        (2, rule(label="Creatinine")),
        (3, rule(code="LAB//2", label="Creatinine")),
        (4, rule(code="LAB//9")),
        (5, rule(code="^LAB//8", match="regex")),
    ]
    found = check_dictionary(rules, dictionary)
    assert [(problem.line, problem.column) for problem in found] == [(3, "label"), (4, "code")]
    assert "'Sodium'" in found[0].message
