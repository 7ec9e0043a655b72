"""The tables of concepts are consistent, and each id means what its label says."""

from pathlib import Path

import polars as pl
import pytest

from sojourn.concepts import code_concepts, concept_table


def test_every_code_stands_for_a_concept_of_the_table():
    names = set(concept_table()["name"])
    used = code_concepts()["concept"].unique().to_list()
    unknown = [name for name in used if "//".join(name.split("//")[:2]) not in names]
    assert unknown == []


def test_concepts_are_unique_with_sane_limits():
    concepts = concept_table()
    assert concepts["name"].is_unique().all()
    assert concepts.filter(pl.col("min") >= pl.col("max")).is_empty()


def test_rules_are_unique_and_complete():
    rules = code_concepts()
    assert rules.select("source", "match", "code").is_unique().all()
    assert rules.null_count().sum_horizontal().item() == 0
    assert set(rules["match"]) == {"exact", "prefix", "regex"}
    assert rules.filter(pl.col("scale") == 0).is_empty()


@pytest.mark.real
def test_labels_of_mimic_ids_are_those_of_its_dictionaries(sojourn_data: Path):
    raw = sojourn_data / "mimic-iv-demo"
    items = pl.read_csv(raw / "icu/d_items.csv.gz", infer_schema=False).select("itemid", "label", "linksto")
    tests = pl.read_csv(raw / "hosp/d_labitems.csv.gz", infer_schema=False).select("itemid", "label")
    known = pl.concat([items, tests.with_columns(linksto=pl.lit("labevents"))])
    tables = {
        "LAB": "labevents",
        "CHART": "chartevents",
        "OUTPUT": "outputevents",
        "INFUSION_START": "inputevents",
        "INFUSION_END": "inputevents",
        "PROCEDURE_START": "procedureevents",
        "PROCEDURE_END": "procedureevents",
    }
    rules = code_concepts().filter(pl.col("source") == "mimic-iv", ~pl.col("code").str.starts_with("OMR//"))
    levels = pl.col("code").str.split("//").list
    keyed = rules.with_columns(itemid=levels.get(1), linksto=levels.get(0).replace_strict(tables))
    wrong = keyed.join(known, on=["itemid", "linksto", "label"], how="anti")
    assert wrong["code"].to_list() == []


WORDS = {
    "albumin": "Albumin",
    "alp": "Alkaline",
    "alt": "Alanine",
    "ast": "Asparate",
    "antibiotic//start": "",
    "bands": "Bands",
    "base_excess": "Base Excess",
    "bicarbonate": "Bicarbonate",
    "bilirubin_direct": "Direct",
    "bilirubin_total": "Bilirubin, Total",
    "bun": "Urea",
    "calcium": "Calcium, Total",
    "chloride": "Chloride",
    "ck": "Creatine Kinase (CK)",
    "ckmb": "MB",
    "creatinine": "Creatinine",
    "crp": "C-Reactive",
    "dbp": "iastolic",
    "etco2": "EtCO2",
    "fibrinogen": "Fibrinogen",
    "fio2": "O",
    "gcs_eye": "Eye",
    "gcs_motor": "Motor",
    "gcs_verbal": "Verbal",
    "glucose": "Glucose",
    "heart_rate": "Heart Rate",
    "height": "Height",
    "hematocrit": "Hematocrit",
    "hemoglobin": "Hemoglobin",
    "inr": "INR",
    "ionized_calcium": "Free Calcium",
    "lactate": "Lactate",
    "lymphocytes": "Lymphocytes",
    "magnesium": "Magnesium",
    "map": "ean",
    "neutrophils": "Neutrophils",
    "noninvasive_ventilation": "Non-invasive",
    "pco2": "pCO2",
    "ph": "pH",
    "phosphate": "Phosphate",
    "platelets": "Platelet Count",
    "po2": "pO2",
    "potassium": "Potassium",
    "pt": "PT",
    "ptt": "PTT",
    "resp_rate": "Respiratory Rate",
    "rrt": "ialysis",
    "sao2": "Oxygen Saturation",
    "sbp": "ystolic",
    "sodium": "Sodium",
    "spo2": "saturation pulseoxymetry",
    "temperature": "Temperature",
    "troponin_i": "Troponin I",
    "troponin_t": "Troponin T",
    "urine_output": "",
    "ventilation": "Invasive Ventilation",
    "wbc": "W",
    "weight": "Weight",
}
"""A word that a label must hold to fit its concept."""


def test_labels_fit_their_concepts():
    rules = code_concepts().filter(pl.col("source") == "mimic-iv", ~pl.col("code").str.starts_with("OMR//"))
    for code, concept, label in rules.select("code", "concept", "label").rows():
        base = concept.split("//")[0]
        word = WORDS.get(concept, WORDS.get(base, base.capitalize()))
        assert word in label, (code, concept, label)
