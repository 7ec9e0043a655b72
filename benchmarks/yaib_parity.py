"""YAIB's five tasks here and there: whose stays, and which labels, on the eICU demo and on YAIB's own hourly cells.

The eICU demo that is at hand lacks `lab` (of some stays there is a subset), `vitalPeriodic` and `nurseCharting`; YAIB's
cohorts were made from all of its tables. So our code labels each task twice: from the raw tables that are there, and
from YAIB's own cells in the place of the 48 variables. The second tells whether the definitions are the same.

SOJOURN_DATA=... python benchmarks/yaib_parity.py [TASK...]

With names of tasks only those are done again; the others stay in the results as they are.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from common import RESULTS, keep

from sojourn.concepts.derived import infection
from sojourn.concepts.derived.record import read_record
from sojourn.concepts.derived.registry import derive_onsets
from sojourn.concepts.derived.stays import find_stays
from sojourn.files import read_json
from sojourn.pipeline import ingest
from sojourn.tasks.exclusions import EXCLUSIONS
from sojourn.tasks.facts import iterate_facts
from sojourn.tasks.files import read_labels
from sojourn.tasks.grid_variables import yaib_variables
from sojourn.tasks.label import LabelReport, label
from sojourn.tasks.reading import iterate_records
from sojourn.tasks.stay_definitions import stay_tasks
from sojourn.tasks.stay_facts import roots_of, stay_facts

FOLDERS = {
    "yaib-mortality24": "mortality24",
    "yaib-aki": "aki",
    "yaib-sepsis": "sepsis",
    "yaib-kidney-function": "kidney_function",
    "yaib-los": "los",
}
ELSEWHERE = "YAIB left it out, by data that are not at hand"
KEY = ["subject_id", "hour"]


class Sources(NamedTuple):
    """Where things are."""

    eicu: Path
    yaib: Path
    meds: Path
    """Our data set of the raw tables."""


def main() -> None:
    """Label, compare and keep."""
    data, chosen = Path(os.environ["SOJOURN_DATA"]), sys.argv[1:] or list(FOLDERS)
    before = read_json(RESULTS / "yaib_parity.json")["tasks"] if sys.argv[1:] else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sources = Sources(data / "eicu-demo", data / "yaib-demo", work / "raw")
        ingest("eicu", sources.eicu, sources.meds)
        write_cells(sources, work / "cells")
        found = {
            name: before.get(name, {})
            | {task: compare(task, dataset, sources, work / "labels.parquet") for task in chosen}
            for name, dataset in (("raw tables", sources.meds), ("YAIB's cells", work / "cells"))
        }
    keep("yaib_parity", {"what_is_missing": missing_tables(sources), "tasks": found})


def missing_tables(sources: Sources) -> dict[str, Any]:
    """Which tables of the demo are not at hand, and of how many stays there are labs."""
    stays = pl.read_parquet(sources.eicu / "patient.parquet")["patientunitstayid"]
    labs = pl.read_parquet(sources.eicu / "lab_SUBSET_pyhealth.parquet")
    name = next(column for column in labs.columns if column.lower() == "patientunitstayid")
    tables = {path.stem.lower() for path in sources.eicu.glob("*.parquet")}
    return {
        "tables": [name for name in ("lab", "vitalPeriodic", "nurseCharting") if name.lower() not in tables],
        "stays": stays.n_unique(),
        "stays_with_labs": labs.filter(pl.col(name).is_in(stays.implode()))[name].n_unique(),
    }


def write_cells(sources: Sources, out: Path) -> None:
    """A data set with YAIB's cells during the stay; before it, and for all other events, what the raw tables have."""
    folder = sources.yaib / "los" / "eicu_demo"
    variables = yaib_variables()
    codes = pl.read_parquet(sources.meds / "metadata" / "codes.parquet")
    replaced = [concept for variable in variables.values() for concept in variable.concepts]
    local = codes.filter(pl.col("concept").is_in([*replaced, "weight"]))["code"].to_list()
    raw = pl.concat([pl.read_parquet(path) for path in sorted((sources.meds / "data").glob("*.parquet"))])
    facts = pl.read_parquet(folder / "sta.parquet").rename({"stay_id": "subject_id"}).cast({"subject_id": pl.Int64})
    anchors = raw.filter(pl.col("code").str.starts_with("ICU_ADMISSION")).select("subject_id", "site", anchor="time")
    anchors = anchors.join(facts.select("subject_id", "weight"), on="subject_id")
    columns = ["subject_id", "time", "code", "numeric_value", "site"]
    other = raw.join(anchors.select("subject_id", "anchor"), on="subject_id").filter(
        ~pl.col("code").is_in(local) | ((pl.col("time") < pl.col("anchor")) & ~pl.col("code").str.contains("weight"))
    )
    cells = pl.read_parquet(folder / "dyn.parquet").rename({"stay_id": "subject_id", "time": "hour"})
    cells = cells.unpivot(index=KEY, value_name="numeric_value").drop_nulls("numeric_value")
    names = pl.DataFrame({"variable": list(variables), "code": [v.codes()[0] for v in variables.values()]})
    cells = cells.cast({"subject_id": pl.Int64}).join(names, on="variable").join(anchors, on="subject_id")
    cells = cells.with_columns(time=pl.col("anchor") + pl.col("hour").cast(pl.Duration("us")))
    weights = anchors.drop_nulls("weight").select(
        "subject_id", time="anchor", code=pl.lit("CONCEPT//weight"), numeric_value="weight", site="site"
    )
    parts = [part.select(columns).cast({"numeric_value": pl.Float32}) for part in (other, cells, weights)]
    events = pl.concat(parts).sort("subject_id", "time", "code", nulls_last=False)
    for name in ("data", "metadata"):
        (out / name).mkdir(parents=True)
    events.write_parquet(out / "data" / "0.parquet")
    used = events.select(pl.col("code").unique().sort())
    used.join(codes, on="code", how="left").write_parquet(out / "metadata" / "codes.parquet")


def compare(task: str, dataset: Path, sources: Sources, out: Path) -> dict[str, Any]:
    """Cohort and labels of one task by our code, beside YAIB's."""
    report = label(task, dataset, out)
    stays = facts_of(task, dataset)
    ours, theirs = our_rows(out, stays), their_rows(task, sources)
    a, b = set(ours["subject_id"]), set(theirs["subject_id"])
    rows = ours.join(theirs, on=KEY, how="full", coalesce=True).filter(pl.col("subject_id").is_in(list(a & b)))
    shared = rows.drop_nulls(["ours", "theirs"])
    agree = (pl.col("ours") - pl.col("theirs")).abs() < 1e-4
    same = rows.group_by("subject_id").agg(agree.fill_null(value=False).all().alias("same")).filter("same")
    return {
        "flow": [step._asdict() for step in report.flow],
        "stays": {"ours": len(a), "theirs": len(b), "both": len(a & b)},
        "only_theirs": reasons(stays, task, b - a),
        "only_ours": missing_there(report, a - b),
        "rows": {"both": shared.height, "agree": shared.filter(agree).height},
        "stays_with_all_rows_equal": same.height,
        "positive": {
            side: (of.group_by("subject_id").agg(pl.col(side).max()).filter(pl.col(side) > 0).height)
            for side, of in (("ours", ours), ("theirs", theirs))
        }
        if report.num_positive is not None
        else None,
        "onsets": onsets(task, rows, stays, dataset, sources) if stay_tasks()[task].target == "onset" else None,
        "corrected_rule": report.rules,
    }


def facts_of(task: str, dataset: Path) -> pl.DataFrame:
    """Facts of all stays, for the reasons."""
    definition = stay_tasks()[task]
    parts = zip(iterate_records(dataset, roots_of(definition)), iterate_facts(dataset), strict=True)
    return pl.concat([stay_facts(records, people, definition) for records, people in parts])


def our_rows(path: Path, stays: pl.DataFrame) -> pl.DataFrame:
    """`subject_id, hour, ours`."""
    table = read_labels(path, numbers=True).table.join(stays.select("subject_id", "anchor"), on="subject_id")
    hour = (pl.col("prediction_time") - pl.col("anchor")).dt.total_hours()
    value = pl.col("boolean_value" if "boolean_value" in table.columns else "float_value")
    return table.select("subject_id", hour=hour, ours=value.cast(pl.Float64))


def their_rows(task: str, sources: Sources) -> pl.DataFrame:
    """`subject_id, hour, theirs`; a label without hour is of hour 24."""
    table = pl.read_parquet(sources.yaib / FOLDERS[task] / "eicu_demo" / "outc.parquet")
    hour = pl.col("time").dt.total_hours() if "time" in table.columns else pl.lit(24, pl.Int64)
    return table.select(
        pl.col("stay_id").cast(pl.Int64).alias("subject_id"),
        hour=hour.cast(pl.Int64),
        theirs=pl.col("label").cast(pl.Float64),
    )


def reasons(stays: pl.DataFrame, task: str, lacking: set[int]) -> dict[str, int]:
    """The first exclusion that took out each stay that YAIB has."""
    names = stay_tasks()[task].exclude
    first = pl.coalesce(
        pl.when(EXCLUSIONS[name].excluded.fill_null(value=False)).then(pl.lit(EXCLUSIONS[name].words)) for name in names
    )
    found = stays.with_columns(reason=first).filter(pl.col("subject_id").is_in(list(lacking)))
    return dict(found.group_by("reason").len().sort("len", descending=True).iter_rows())


def missing_there(report: LabelReport, extra: set[int]) -> dict[str, int]:
    """YAIB does not say why it left out a stay: what is left is data that only YAIB had."""
    return {ELSEWHERE: len(extra)} if extra else {}


def onsets(task: str, rows: pl.DataFrame, stays: pl.DataFrame, dataset: Path, sources: Sources) -> dict[str, Any]:
    """Hours of onset in the stays of both, and why they differ."""
    first, last = pl.col("hour").filter(pl.col("theirs") > 0).min(), pl.col("hour").filter(pl.col("theirs") >= 0).max()
    # Positive rows begin 6 h before the onset, or with the stay, and end 6 h after it, where the rows end.
    theirs = rows.group_by("subject_id").agg(theirs=pl.when(first > 0).then(first + 6).otherwise(last - 6))
    is_case = rows.group_by("subject_id").agg(is_case=(pl.col("theirs") > 0).any())
    theirs = theirs.join(is_case, on="subject_id").with_columns(pl.when("is_case").then("theirs"))
    seen = pl.col("onset_hours").floor() <= pl.col("last_hour")
    both = theirs.join(
        stays.select("subject_id", ours=pl.when(seen).then(pl.col("onset_hours").floor().cast(pl.Int64))),
        on="subject_id",
    )
    differ = both.filter(~pl.col("ours").eq_missing(pl.col("theirs")))
    return {
        "stays": both.height,
        "cases_of_both": both.drop_nulls(["ours", "theirs"]).height,
        "same_hour": both.filter(pl.col("ours") == pl.col("theirs")).height,
        "cases_of_theirs_only": both.filter(pl.col("ours").is_null() & pl.col("theirs").is_not_null()).height,
        "cases_of_ours_only": both.filter(pl.col("theirs").is_null() & pl.col("ours").is_not_null()).height,
        "why": explain(differ, sources) if task == "yaib-aki" else explain_sepsis(differ, dataset),
    }


def explain(differ: pl.DataFrame, sources: Sources) -> dict[str, int]:
    """Reasons why onsets of kidney injury differ, by what was charted in the hour of the earlier one."""
    cells = pl.read_parquet(sources.yaib / "los" / "eicu_demo" / "dyn.parquet", columns=["stay_id", "time", "crea"])
    creatinine = cells.drop_nulls("crea").select(
        subject_id=pl.col("stay_id").cast(pl.Int64), theirs=pl.col("time").dt.total_hours(), has_creatinine=True
    )
    urine = pl.read_parquet(sources.eicu / "intakeoutput.parquet").filter(pl.col("celllabel").str.contains("(?i)urine"))
    hour = (pl.col("intakeoutputoffset") / 60).floor().cast(pl.Int64)
    counts = urine.group_by(subject_id=pl.col("patientunitstayid").cast(pl.Int64), earlier=hour).agg(rows=pl.len())
    told = (
        differ.with_columns(earlier=pl.min_horizontal("ours", "theirs"))
        .join(creatinine, on=["subject_id", "theirs"], how="left")
        .join(counts, on=["subject_id", "earlier"], how="left")
    )
    reason = (
        pl.when(pl.col("has_creatinine") & (pl.col("ours").is_null() | (pl.col("ours") > pl.col("theirs"))))
        .then(pl.lit("theirs is a creatinine: a lower one is not in the cells"))
        .when(pl.col("rows") > 1)
        .then(pl.lit("several rows of urine in that hour, which YAIB turns to rates one by one"))
        .otherwise(pl.lit("not explained"))
    )
    return dict(told.group_by(reason.alias("reason")).len().sort("reason").iter_rows())


def explain_sepsis(differ: pl.DataFrame, dataset: Path) -> dict[str, int]:
    """Reasons why onsets of sepsis differ: what leaving out a part of the record does to ours."""
    codes = pl.read_parquet(dataset / "metadata" / "codes.parquet").select("code", "concept")
    whose = pl.col("subject_id").is_in(differ["subject_id"].to_list())
    events = pl.scan_parquet(dataset / "data" / "*.parquet").filter(whose).collect().join(codes, on="code", how="left")
    is_unnamed = pl.col("code").str.contains(r"^MEDICATION_ORDER_(START|END)//HICL \d+$")
    is_score = pl.col("concept").str.starts_with("gcs").fill_null(value=False)
    told = events.with_columns(is_unnamed.alias("unnamed"), code=pl.coalesce("CONCEPT//" + pl.col("concept"), "code"))

    def septic(rows: pl.DataFrame) -> list[int]:
        return derive_onsets(rows, ["sepsis3_recorded"])["sepsis3_recorded"]["subject_id"].to_list()

    record = read_record(told, infection.roots())
    places = infection.infection_onsets(record, find_stays(record), infection.RECORDED)
    suspected = record.axis.ids[record.axis.subjects(places)].tolist()
    named, unscored = septic(told.filter(~pl.col("unnamed"))), septic(told.filter(~is_score))
    subject, is_extra = pl.col("subject_id"), pl.col("theirs").is_null()
    reason = (
        pl.when(is_extra & ~subject.is_in(named))
        .then(pl.lit("only ours: orders by a HICL number alone, where YAIB looks for names"))
        .when(is_extra & ~subject.is_in(unscored))
        .then(pl.lit("only ours: points for coma scores of physicalExam, where YAIB reads nurseCharting"))
        .when(is_extra)
        .then(pl.lit("only ours: other"))
        .when(~subject.is_in(suspected))
        .then(pl.lit("only theirs: no lasting antibiotics here"))
        .when(pl.col("ours").is_null())
        .then(pl.lit("only theirs: lasting antibiotics here as well, so the points of SOFA differ"))
        .otherwise(pl.lit("both, in another hour"))
    )
    return dict(differ.group_by(reason.alias("reason")).len().sort("reason").iter_rows())


if __name__ == "__main__":
    main()
