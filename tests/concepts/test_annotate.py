"""Codes become concepts only where code and unit are known."""

import polars as pl
import pytest

from sojourn.concepts import annotate_codes, match_codes, name_codes


def _codes(*names: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"code": names, "concept": [None] * len(names), "scale": 1.0, "offset": 0.0, "unit": "kept"},
        schema_overrides={"code": pl.String, "concept": pl.String},
    )


def _concepts(source: str, *names: str) -> list[str | None]:
    return annotate_codes(_codes(*names), source)["concept"].to_list()


def test_the_unit_decides_whether_a_code_is_a_concept():
    assert _concepts("mimic-iv", "LAB//50912//mg/dL", "LAB//50912//umol/L", "LAB//50912", "LAB//50912//mg/dL//NEG") == [
        "creatinine",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("source", "code", "raw", "concept", "value"),
    [
        ("mimic-iv", "CHART//223761//°F", 98.6, "temperature", 37.0),
        ("mimic-iv", "CHART//226531", 100.0, "weight", 45.359237),
        ("mimic-iv", "INFUSION_START//222315//units/hour", 2.4, "vasopressin//start", 0.04),
        ("eicu", "VITAL//temperature//°F", 98.6, "temperature", 37.0),
        ("eicu", "LAB//Base Deficit//mEq/L", 5.0, "base_excess", -5.0),
        ("eicu", "LAB//ionized calcium//mg/dL", 4.008, "ionized_calcium", 1.0),
        ("eicu", "LAB//magnesium//mEq/L", 1.38, "magnesium", 1.677),
        ("eicu", "LAB//CRP//mg/dL", 12.0, "crp", 120.0),
        ("eicu", "LAB//FiO2//fraction", 0.4, "fio2", 40.0),
    ],
)
def test_values_are_brought_to_the_unit_of_the_concept(source: str, code: str, raw: float, concept: str, value: float):
    row = annotate_codes(_codes(code), source).row(0, named=True)
    assert row["concept"] == concept
    assert raw * row["scale"] + row["offset"] == pytest.approx(value, abs=1e-3)


def test_an_exact_code_goes_before_one_above_it():
    assert _concepts("mimic-iv", "INFUSION_START//221906//mcg/kg/min", "INFUSION_START//221906//ml/hr") == [
        "norepinephrine//start",
        "norepinephrine//start//other unit",
    ]
    assert _concepts("mimic-iv", "INFUSION_START//225798//dose", "INFUSION_START//2257980//dose") == [
        "antibiotic//start",
        None,
    ]


def test_drugs_are_told_apart_by_name():
    assert _concepts(
        "eicu",
        "INFUSION_START//Norepinephrine STD 4 mg Dextrose 5% 250 ml//mcg/kg/min",
        "INFUSION_START//EPINEPHrine(Adrenalin)STD//mcg/kg/min",
        "INFUSION_START//Levophed//ml/hr",
        "INFUSION_START//Phenylephrine",
        "INFUSION_END//Vasopressin",
        "INFUSION_START//levothyroxine//mcg/kg/hr",
    ) == [
        "norepinephrine//start",
        "epinephrine//start",
        "norepinephrine//start//ml/hr",
        "phenylephrine//start//other unit",
        "vasopressin//end",
        None,
    ]


def test_invasive_and_other_ventilation_and_dialysis():
    assert _concepts("mimic-iv", "PROCEDURE_START//225792", "PROCEDURE_END//225794", "PROCEDURE_START//225802") == [
        "ventilation//start",
        "noninvasive_ventilation//end",
        "rrt//start",
    ]
    above = "TREATMENT//pulmonary//ventilation and oxygenation//"
    assert _concepts(
        "eicu",
        above + "mechanical ventilation",
        above + "mechanical ventilation//volume controlled",
        above + "mechanical ventilation//non-invasive ventilation//face mask",
        above + "non-invasive ventilation",
        above + "ventilator weaning",
        "TREATMENT//renal//dialysis//C V V H D",
        "TREATMENT//renal//dialysis//arteriovenous shunt for renal dialysis",
    ) == [
        "ventilation//start",
        "ventilation//start",
        "noninvasive_ventilation//start",
        "noninvasive_ventilation//start",
        None,
        "rrt//start",
        None,
    ]


def test_known_concepts_other_columns_and_the_order_stay():
    codes = _codes("LAB//50912//mg/dL", "Z", "CHART//220045//bpm").with_columns(
        concept=pl.Series([None, None, "mine"]), scale=pl.Series([1.0, 1.0, 7.0])
    )
    annotated = annotate_codes(codes, "mimic-iv")
    assert annotated.columns == codes.columns
    assert annotated["code"].to_list() == codes["code"].to_list()
    assert annotated["concept"].to_list() == ["creatinine", None, "mine"]
    assert annotated["scale"].to_list() == [1.0, 1.0, 7.0]
    assert annotate_codes(annotated, "mimic-iv").equals(annotated)


def test_other_sources_and_no_codes_stay_as_they_are():
    assert _concepts("simulator", "LAB//50912//mg/dL") == [None]
    assert annotate_codes(_codes(), "mimic-iv").height == 0


def test_traps_of_other_concept_tables_are_not_repeated():
    """Tube feed is no urine; alarm limits and set rates are no measurements; venous blood is no arterial blood."""
    assert _concepts(
        "mimic-iv",
        "OUTPUT//227510//ml",
        "OUTPUT//227489//ml",
        "CHART//226253//%",
        "CHART//224688//insp/min",
        "CHART//224689//insp/min",
        "CHART//224027",
        "LAB//50821//mm Hg//VEN",
    ) == [
        "tube_feed_residual",
        "urine_irrigant_out",
        "spo2_alarm_low",
        "resp_rate_set",
        "resp_rate_spontaneous",
        None,
        "venous_po2",
    ]


def test_attributes_come_with_the_concept():
    found = match_codes(pl.Series(["LAB//50820//units//CENTRAL VENOUS", "CHART//220181//mmHg"]), "mimic-iv")
    assert found.select("concept", "specimen", "role", "method").rows() == [
        ("venous_ph", "central venous", "measurement", None),
        ("map", None, "measurement", "non-invasive"),
    ]


def test_codes_of_no_source_mean_the_same_everywhere():
    for source in ("omop", "fhir", "ours"):
        row = annotate_codes(_codes("LOINC//2160-0//umol/L"), source).row(0, named=True)
        assert row["concept"] == "creatinine"
        assert 88.42 * row["scale"] == pytest.approx(1.0)


def test_names_units_and_attributes_are_added_once():
    codes = _codes("LAB//50912//mg/dL", "Z").drop("unit")
    named = name_codes(codes, "mimic-iv")
    about = ["concept_unit", "concept_description", "concept_min", "concept_max", "specimen", "role", "method"]
    assert named.columns == [*codes.columns, *about]
    assert named["concept_unit"].to_list() == ["mg/dL", None]
    assert name_codes(named, "mimic-iv").equals(named)


@pytest.mark.parametrize(
    ("source", "code", "concept"),
    [
        ("eicu", "MEDICATION_ORDER_START//HICL 4042//VANCOMYCIN HCL 1 GM VIAL", "antibiotic//start//order"),
        ("eicu", "MEDICATION_ORDER_END//HICL 4042", "antibiotic//end//order"),
        ("eicu", "MEDICATION_ORDER_START//CIPROFLOXACIN 0.3 % OP SOLN", "local_antibiotic//start"),
        ("eicu", "MEDICATION_ORDER_START//CIPRO HC 0.2-1 % OTIC SUSP", "local_antibiotic//start"),
        ("eicu", "MEDICATION_ORDER_START//ERYTHROMYCIN 5 MG/GM OPHTH OINT", "local_antibiotic//start"),
        ("eicu", "MEDICATION_ORDER_START//MUPIROCIN 2 % EX OINT", "local_antibiotic//start"),
        ("eicu", "MEDICATION_ORDER_END//TOBRAMYCIN 300 MG/5ML INHALATION NEBU", "local_antibiotic//end"),
        ("eicu", "MEDICATION_ORDER_START//HICL 4047//BACITRACIN", "local_antibiotic//start"),
        ("eicu", "INFUSION_START//Zosyn//ml/hr", "antibiotic//start"),
        ("eicu", "TREATMENT//infectious diseases//medications//therapeutic antibacterials", "antibiotic//start//noted"),
        ("eicu", "MEDICATION_ORDER_START//HICL 1694//MORPHINE SULFATE", None),
        ("eicu", "MEDICATION_ORDER_START//HICL 1396//CEPHULAC", None),
        ("eicu", "MEDICATION_ORDER_START//PENICILLAMINE 250 MG", None),
        ("eicu", "MEDICATION_ORDER_START//FLUCONAZOLE 200 MG", None),
        ("eicu", "HOME_MEDICATION//BACTRIM", None),
        ("mimic-iv", "MEDICATION_ORDER_START//Sulfameth/Trimethoprim DS//TAB", "antibiotic//start//order"),
        ("mimic-iv", "MEDICATION_ORDER_START//moxifloxacin//DROP", "local_antibiotic//start"),
        ("mimic-iv", "MEDICATION_ORDER_END//Vancomycin Enema", "local_antibiotic//end"),
        ("mimic-iv", "INFUSION_END//225798", "antibiotic//end"),
    ],
)
def test_antibiotics_are_found_by_name_and_those_for_skin_and_eye_stand_apart(
    source: str, code: str, concept: str | None
):
    assert _concepts(source, code) == [concept]
