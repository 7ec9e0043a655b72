"""The tables of concepts are consistent, and each id means what its label says."""

from pathlib import Path

import polars as pl
import pytest

from sojourn.concepts import code_concepts, concept_table
from sojourn.concepts.annotate import match_codes
from sojourn.concepts.check import check_dictionary, check_rules
from sojourn.concepts.registry import CodeRule, base_name, concepts
from sojourn.sources.eicu.known import end_of_stay

FAMILIES = {
    "LAB": "labevents",
    "CHART": "chartevents",
    "OUTPUT": "outputevents",
    "INFUSION_START": "inputevents",
    "INFUSION_END": "inputevents",
    "PROCEDURE_START": "procedureevents",
    "PROCEDURE_END": "procedureevents",
}
"""Family of a MIMIC code -> the table that its item belongs to."""


def rules_of(source: str) -> list[tuple[int, CodeRule]]:
    table = code_concepts().filter(pl.col("source") == source)
    return [(line, CodeRule.model_validate(row)) for line, row in enumerate(table.iter_rows(named=True), start=2)]


@pytest.mark.parametrize("source", code_concepts()["source"].unique().sort())
def test_every_row_fits_its_concept(source: str) -> None:
    assert check_rules(rules_of(source), concepts()) == []


def test_concepts_are_unique_and_all_are_used_or_derived() -> None:
    names = concept_table()["name"]
    assert names.is_unique().all()
    used = {base_name(name) for name in code_concepts()["concept"]}
    assert set(names) - used == {"age", "sex"}


def test_rows_are_complete() -> None:
    table = code_concepts()
    needed = ("source", "match", "code", "concept", "scale", "offset", "role")
    assert table.select(needed).null_count().sum_horizontal().item() == 0
    labelled = table.filter(pl.col("source").is_in(["mimic-iv", "mimic-iii", "eicu", "clif"]))
    assert labelled["label"].null_count() == 0
    demo = table.filter(pl.col("source").is_in(["mimic-iv", "eicu"]))
    assert demo["count"].null_count() == 0


def test_blood_gases_have_a_specimen_and_settings_no_measured_concept() -> None:
    table = code_concepts()
    kinds = dict(concept_table().select("name", "kind").iter_rows())
    for concept, specimen, role in table.select("concept", "specimen", "role").iter_rows():
        kind = kinds[base_name(concept)]
        assert kind != "blood gas" or specimen is not None, concept
        assert role in ("measurement", "event") or kind == "setting", concept
        assert not concept.startswith("venous_") or "venous" in specimen, concept


def test_venous_and_arterial_blood_are_different_concepts() -> None:
    table = code_concepts().filter(pl.col("concept").is_in(["ph", "pco2", "po2", "base_excess", "sao2"]))
    assert set(table["specimen"]) <= {"arterial", "unknown"}


@pytest.mark.real
@pytest.mark.parametrize("source", ["mimic-iv", "mimic-iii"])
def test_ids_and_labels_are_those_of_the_dictionaries_of_mimic(sojourn_data: Path, source: str) -> None:
    """Where MIMIC-III has MIMIC-IV's ids (laboratory and MetaVision), they mean the same."""
    items, tests = dictionaries(sojourn_data)
    known = {"LAB": tests} | {
        family: items.filter(pl.col("linksto") == table) for family, table in FAMILIES.items() if family != "LAB"
    }
    for family, dictionary in known.items():
        rules = [(n, rule) for n, rule in rules_of(source) if rule.code.startswith(f"{family}//")]
        if source == "mimic-iii":
            rules = [(n, rule) for n, rule in rules if "CareVue" not in (rule.note or "")]
        assert check_dictionary(rules, dictionary) == [], family
        assert rules or source == "mimic-iii"


@pytest.mark.real
def test_counts_are_those_of_the_demo(sojourn_data: Path) -> None:
    """The demo has an item in the unit of the row as often as the row says; a zero says that it never has."""
    raw = sojourn_data / "mimic-iv-demo"
    chart = pl.scan_parquet(raw / "icu/chartevents.parquet").group_by("itemid", "valueuom").len().collect()
    output = pl.read_csv(raw / "icu/outputevents.csv.gz", columns=["itemid", "valueuom"])
    seen = {
        "CHART": {(str(item), unit): n for item, unit, n in chart.iter_rows()},
        "OUTPUT": {(str(i), u): n for i, u, n in output.group_by("itemid", "valueuom").len().iter_rows()},
    }
    checked = 0
    for _, rule in rules_of("mimic-iv"):
        family, *levels = rule.code.split("//")
        if family in seen and rule.match == "exact":
            unit = levels[1] if len(levels) > 1 else None
            assert rule.count == seen[family].get((levels[0], unit), 0), rule.code
            checked += 1
    assert checked == 60


@pytest.mark.real
def test_laboratory_counts_and_names_of_eicu_are_those_of_the_demo(sojourn_data: Path) -> None:
    """Rows of one test may differ in their unit, so together they are as often as the test has a result."""
    lab = pl.read_parquet(sojourn_data / "eicu-demo/lab_SUBSET_pyhealth.parquet")
    seen = dict(lab.group_by("labname").len().iter_rows())
    mine = [rule for _, rule in rules_of("eicu") if rule.code.startswith("LAB//")]
    for name in {rule.label for rule in mine} - {None}:
        total = sum(rule.count or 0 for rule in mine if rule.label == name)
        assert 0.9 * seen[name] <= total <= seen[name], name


@pytest.mark.real
def test_antibiotics_of_eicu_are_the_orders_that_say_so(sojourn_data: Path) -> None:
    """Rows find the orders of the raw table, as often as they say, and no number means another drug than its orders."""
    table = pl.read_parquet(sojourn_data / "eicu-demo/medication.parquet").filter(
        pl.col("drugordercancelled").ne_missing("Yes")
    )
    stays = pl.read_parquet(sojourn_data / "eicu-demo/patient.parquet").select("patientunitstayid", end=end_of_stay())
    known = table.join(stays, on="patientunitstayid").filter(pl.col("drugstartoffset") <= pl.col("end"))
    hicl = pl.format("HICL {}", pl.col("drughiclseqno"))
    name = pl.col("drugname").str.replace_all(r"\s+", " ").str.replace_all(r"/{2,}", "/").str.strip_chars(" /")
    name = pl.when(name != "").then(name)
    code = pl.concat_str(pl.lit("MEDICATION_ORDER_START"), hicl, name, separator="//", ignore_nulls=True)
    orders = known.filter(hicl.is_not_null() | name.is_not_null()).select(
        "drughiclseqno", name.alias("name"), code=code
    )
    found = match_codes(orders["code"], "eicu").select("code", "concept")
    seen = orders.join(found, on="code", how="left")
    rules = code_concepts().filter((pl.col("source") == "eicu") & pl.col("code").str.contains("MEDICATION_ORDER_START"))
    said = dict(rules.group_by("concept").agg(pl.col("count").sum()).iter_rows())
    counted = dict(seen.drop_nulls("concept").group_by("concept").len().iter_rows())
    assert said == counted
    assert set(said) == {"antibiotic//start//order", "local_antibiotic//start"}
    for number, drug, concept in (
        rules.filter(pl.col("match") == "exact").select("code", "label", "concept").iter_rows()
    ):
        named = seen.filter(pl.col("code").str.starts_with(f"{number}//"))["concept"]
        assert set(named) == {concept}, (number, drug)


def dictionaries(sojourn_data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`id`, `label` (and `linksto`) of the charted items and the laboratory tests of MIMIC-IV."""
    raw = sojourn_data / "mimic-iv-demo"
    items = pl.read_csv(raw / "icu/d_items.csv.gz", infer_schema=False).select("label", "linksto", id="itemid")
    tests = pl.read_csv(raw / "hosp/d_labitems.csv.gz", infer_schema=False).select("label", id="itemid")
    return items, tests
