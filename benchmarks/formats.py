"""The patients of the MIMIC-IV demo through five formats: do they give the same values of the shared concepts?

SOJOURN_DATA=... python benchmarks/formats.py WORK

Ingests the raw tables (hosp/icu), OMOP, FHIR, CLIF and MEDS into WORK and compares counts, medians and quantiles of
every concept, and counts of the stays and deaths. Reasons for differences, which were looked up by hand, stand in
formats_reasons.csv.
"""

import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import polars as pl
from common import keep

from sojourn.concepts import annotate_codes
from sojourn.pipeline import ingest

FORMATS = {
    "csv": ("mimic-iv", "mimic-iv-demo"),
    "meds": ("meds", "mimic-iv-demo-meds/mimic_iv_demo_meds_events.parquet"),
    "clif": ("clif", "mimic-iv-demo-clif"),
    "fhir": ("fhir", "mimic-iv-demo-fhir"),
    "omop": ("omop", "omop/mimic4demo_omop_0.9_no_measurement_observation.tar.gz"),
}
"""Name of the format -> source, and place below SOJOURN_DATA."""
SHARED = {"csv": "csv-shared", "clif": "clif-shared"}
"""The CLIF demo was made from a later release of MIMIC-IV, with 35 more hospital stays of these patients, and takes
laboratory results of hospital stays only. Both sides are therefore also compared within what they share: the CLIF
tables of the stays that the raw tables have, and the raw laboratory results that name a hospital stay."""
REASONS = Path(__file__).with_name("formats_reasons.csv")
COUNT_WITHIN = 0.02
"""Counts that differ by no more than this share agree."""
MEDIAN_WITHIN = 0.005
"""Medians that differ by no more than this share (of at least 1) agree."""
_EVENTS = {
    "hospital admission": r"^HOSPITAL_ADMISSION",
    "hospital discharge": r"^HOSPITAL_DISCHARGE",
    "death in hospital": r"^HOSPITAL_DISCHARGE//DIED$",
    "ICU admission": r"^ICU_ADMISSION",
    "death in the ICU": r"^ICU_DISCHARGE//DIED$",
    "death": r"^MEDS_DEATH$",
    "emergency department": r"^(?:EMERGENCY_DEPARTMENT_START|ED_REGISTRATION)$",
    "diagnosis at discharge": r"^DIAGNOSIS//ICD",
}
"""Kinds of events that are no concept -> pattern of their codes."""


def main(work: Path) -> None:
    """Ingest what is not there yet, compare, and keep the result."""
    data = Path(os.environ["SOJOURN_DATA"])
    tables = {name: _table(name, FORMATS[name][0], data / FORMATS[name][1], work) for name in FORMATS}
    tables |= {
        SHARED["csv"]: _table(SHARED["csv"], "mimic-iv", _raw_of_stays(data, work), work),
        SHARED["clif"]: _table(SHARED["clif"], "clif", _clif_of_stays(data, work), work),
    }
    base = tables["csv"]
    lines = []
    for concept in sorted(set(pl.concat([t["concept"] for t in tables.values()]).drop_nulls())):
        found = {name: _statistics(_values(table, concept)) for name, table in tables.items()}
        if not any(line["values"] for line in found.values()):
            continue
        lines.append({"concept": concept} | found)
    kinds = {
        kind: {name: _count(table, pattern) for name, table in tables.items()} for kind, pattern in _EVENTS.items()
    }
    for line in lines:
        line["agreement"] = _agreement(line)
    subjects = {name: table["subject"].n_unique() for name, table in tables.items()}
    same = {name: set(table["subject"]) == set(base["subject"]) for name, table in tables.items()}
    keep("formats", {"subjects": subjects, "same_subjects": same, "concepts": lines, "events": kinds})


def _table(name: str, source: str, raw: Path, work: Path) -> pl.DataFrame:
    """Events of one format with their concept, and the values in its unit: subject, time, code, concept, value."""
    if raw.name.endswith(".tar.gz"):
        with tarfile.open(raw) as archive:
            archive.extractall(work / f"{name}-raw", filter="data")
        raw = work / f"{name}-raw"
    ingest(source, raw, work / name)
    events = pl.concat([pl.read_parquet(path) for path in sorted((work / name / "data").glob("*.parquet"))])
    codes = pl.read_parquet(work / name / "metadata" / "codes.parquet").select("code", "concept", "scale", "offset")
    if name == "meds":
        codes = _meds_codes(codes)
    joined = events.join(codes, on="code", how="left")
    value = pl.col("numeric_value").cast(pl.Float64) * pl.col("scale") + pl.col("offset")
    table = joined.select("code", "concept", "time", subject="subject_id", value=value)
    return table if name != "omop" else _own_numbers(table, raw)


def _meds_codes(codes: pl.DataFrame) -> pl.DataFrame:
    """Concepts of the flat MEDS copy: it calls laboratory and charted items LAB, and names no unit of a rate."""
    item = pl.col("code").str.extract(r"//(\d+)").cast(pl.Int64)
    rest = pl.col("code").str.replace(r"^[A-Z_]+", "").str.replace(r"//UNK$", "")
    family = pl.col("code").str.extract(r"^([A-Z_]+)//")
    ours = (
        pl.when((family == "LAB") & (item >= 220_000))
        .then(pl.lit("CHART"))
        .otherwise(family.replace({"SUBJECT_FLUID_OUTPUT": "OUTPUT"}))
    )
    named = codes.with_columns(_theirs="code", code=pl.coalesce(pl.concat_str(ours, rest), "code"))
    blank = named.with_columns(concept=pl.lit(None, pl.String), scale=1.0, offset=0.0)
    return annotate_codes(blank, "mimic-iv").with_columns(code="_theirs").drop("_theirs")


def _own_numbers(table: pl.DataFrame, raw: Path) -> pl.DataFrame:
    """The patients' own numbers instead of those of the OMOP export, which are hashes."""
    path = next(raw.rglob("person.csv"))
    own = pl.read_csv(path, columns=["person_id", "person_source_value"]).select(
        subject="person_id", own=pl.col("person_source_value").cast(pl.Int64)
    )
    return table.join(own, on="subject", how="left").with_columns(subject="own").drop("own")


def _values(table: pl.DataFrame, concept: str) -> pl.DataFrame:
    """Events of one concept; of starts and ends of treatments also those without a number."""
    of = table.filter(pl.col("concept") == concept)
    return of if concept.endswith(("//start", "//end")) else of.drop_nulls("value")


def _statistics(values: pl.DataFrame) -> dict[str, Any]:
    """Counts, median and quantiles."""
    numbers = values["value"].drop_nulls()
    points = {"median": 0.5, "q05": 0.05, "q95": 0.95}
    found = {name: None if numbers.is_empty() else numbers.quantile(at, "linear") for name, at in points.items()}
    return {"values": values.height, "subjects": values["subject"].n_unique()} | found


def _stays(data: Path) -> list[str]:
    """Hospital stays of the raw tables."""
    return pl.read_csv(data / "mimic-iv-demo/hosp/admissions.csv.gz", infer_schema=False)["hadm_id"].to_list()


def _raw_of_stays(data: Path, work: Path) -> Path:
    """The raw tables, of the laboratory results only those that name a hospital stay."""
    raw, out = data / "mimic-iv-demo", work / "csv-shared-raw"
    for path in [*raw.glob("hosp/*"), *raw.glob("icu/*")]:
        place = out / path.relative_to(raw)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.name.startswith("labevents"):
            labs = pl.read_csv(path, infer_schema=False)
            labs.filter(pl.col("hadm_id").is_in(_stays(data))).write_parquet(place.with_name("labevents.parquet"))
        elif not place.exists():
            place.symlink_to(path.resolve())
    return out


def _clif_of_stays(data: Path, work: Path) -> Path:
    """The CLIF tables of the hospital stays that the raw tables have."""
    out = work / "clif-shared-raw"
    out.mkdir(parents=True, exist_ok=True)
    for path in (data / "mimic-iv-demo-clif").glob("*.parquet"):
        table = pl.read_parquet(path)
        if "hospitalization_id" in table.columns:
            table = table.filter(pl.col("hospitalization_id").is_in(_stays(data)))
        table.write_parquet(out / path.name)
    return out


def _count(table: pl.DataFrame, pattern: str) -> int:
    return table.filter(pl.col("code").str.contains(pattern)).height


def _agreement(line: dict[str, Any]) -> dict[str, Any]:
    """Of each format beside the raw tables: ratio of counts, difference of medians, and why they differ.

    CLIF is compared within what both sides share.
    """
    told = pl.read_csv(REASONS)
    found = {}
    for name in FORMATS:
        base, here = (line[SHARED.get(side, side) if name == "clif" else side] for side in ("csv", name))
        if name == "csv" or not here["values"] or not base["values"]:
            continue
        ratio = here["values"] / base["values"]
        known = base["median"] is not None and here["median"] is not None
        difference = here["median"] - base["median"] if known else None
        is_close = difference is None or abs(difference) <= MEDIAN_WITHIN * max(1.0, abs(base["median"]))
        agrees = abs(ratio - 1) <= COUNT_WITHIN and is_close
        why = told.filter(pl.col("format") == name, pl.col("concept").is_in([line["concept"], "*"]))
        reason = why.sort(pl.col("concept") == "*")["reason"].first() or "not explained"
        compared = {"csv": base["values"], "here": here["values"], "ratio": ratio, "difference": difference}
        found[name] = compared | {"agrees": agrees, "reason": "" if agrees else reason}
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
