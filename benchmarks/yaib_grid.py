"""Our hourly grid from raw eICU tables beside the one that YAIB made of them, cell by cell.

    python benchmarks/yaib_grid.py WORK                      # SOJOURN_DATA names the open data

YAIB's cohorts of the eICU demo hold the hours of 1,526 stays with 48 variables. The same stays are read from the raw
tables that are at hand: all of them but `vitalPeriodic` and `nurseCharting`, and `lab` for some stays only. A variable
is compared on the stays whose table is there. Each cell that disagrees is then asked why: a second grid takes only the
items that YAIB takes (`yaib_items.csv`), with its units, and only laboratory results that stand in the column of
numbers. If that one agrees, our choice of items, units and text is the reason, and the codes in the cell say which;
else, a table is missing.
"""

import argparse
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from common import keep

import sojourn as sj
from sojourn.events.meds import read_codes, shard_paths, write_table
from sojourn.files import read_json
from sojourn.tasks.grid_variables import yaib_variables

ITEMS = Path(__file__).parent / "yaib_items.csv"
KEYS = ["stay_id", "time"]
TASKS = ("los", "mortality24", "aki", "sepsis", "kidney_function")
TOLERANCE = 1e-4
"""Relative: finer than the last recorded figure of any value."""


def main() -> None:
    """Make both grids, compare them with YAIB's and write `results/yaib_grid.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    given = parser.parse_args()
    data = Path(os.environ["SOJOURN_DATA"])
    given.work.mkdir(parents=True, exist_ok=True)
    meds = given.work / "eicu-meds"
    sj.ingest("eicu", data / "eicu-demo", meds)
    sj.ingest("eicu", _with_numbers_only(data / "eicu-demo", given.work / "numbers"), given.work / "numbers-meds")
    as_yaib = _with_yaibs_items(given.work / "numbers-meds", given.work / "as-yaib")
    for source, name in ((meds, "ours"), (as_yaib, "theirs")):
        shutil.rmtree(given.work / name, ignore_errors=True)
        sj.hourly_grid(source, given.work / name, layout="yaib")
    cohort = data / "yaib-demo" / "los" / "eicu_demo"
    cells = _joined(cohort, given.work / "ours", given.work / "theirs")
    tables = set(read_json(meds / "metadata" / "ingest.json")["warnings"])
    missing = {t for t in ("vitalPeriodic", "nurseCharting") if any(f"table {t} is missing" in said for said in tables)}
    result = {
        "sources_of_yaib_demo": sorted(path.name for path in (data / "yaib-demo" / "los").iterdir()),
        "rows": _rows(cells, given.work / "ours", cohort),
        "static": _static(cohort, given.work / "ours"),
        "variables": _variables(cells, meds, as_yaib, missing),
        "between_yaibs_own_tasks": _between_tasks(data / "yaib-demo", as_yaib),
    }
    keep("yaib_grid", result)
    for line in result["variables"]:
        print({k: v for k, v in line.items() if k != "codes_in_cells_that_disagree"})
    print(result["rows"], result["static"])


def _with_numbers_only(raw: Path, out: Path) -> Path:
    """The same tables; laboratory results whose number stands in a text, such as "<0.1", are left out."""
    out.mkdir(parents=True, exist_ok=True)
    for path in raw.glob("*.parquet"):
        place = out / path.name
        if path.name.startswith("lab"):
            pl.read_parquet(path).drop_nulls("labresult").write_parquet(place)
        elif not place.exists():
            place.symlink_to(path.resolve())
    return out


def _with_yaibs_items(meds: Path, out: Path) -> Path:
    """The same events with the items that YAIB takes and its units."""
    shutil.rmtree(out, ignore_errors=True)
    items = pl.read_csv(ITEMS)
    codes = read_codes(meds).with_columns(concept=pl.lit(None, pl.String), scale=pl.lit(1.0), offset=pl.lit(0.0))
    size = pl.col("code").str.extract("^VITAL//admission(height|weight)//")
    chosen = codes.with_columns(concept=size).drop_nulls("concept")
    for concept, pattern, scale in items.select("concept", "pattern", "scale").iter_rows():
        fits = pl.col("code").str.contains(pattern) & ~pl.col("code").is_in(chosen["code"].implode())
        mapped = codes.filter(fits).with_columns(concept=pl.lit(concept), scale=pl.lit(float(scale)))
        chosen = pl.concat([chosen, mapped])
    rest = codes.filter(~pl.col("code").is_in(chosen["code"].implode()))
    write_table(pl.concat([chosen, rest]), out / "metadata" / "codes.parquet")
    (out / "data").symlink_to((meds / "data").resolve())
    return out


def _joined(cohort: Path, ours: Path, theirs: Path) -> pl.DataFrame:
    """YAIB's cells beside ours (`_ours`) and ours of their items (`_items`)."""
    cells = pl.read_parquet(cohort / "dyn.parquet").with_columns(pl.col("stay_id").cast(pl.Int64))
    for folder, suffix in ((ours, "_ours"), (theirs, "_items")):
        grid = pl.read_parquet(folder / "dyn.parquet").with_columns(has_row=pl.lit(value=True))
        cells = cells.join(grid.rename({n: n + suffix for n in grid.columns if n not in KEYS}), on=KEYS, how="left")
    return cells


def _rows(cells: pl.DataFrame, ours: Path, cohort: Path) -> dict[str, int]:
    """Whether both have the same rows for the same stays."""
    stays = pl.read_parquet(cohort / "sta.parquet")["stay_id"].cast(pl.Int64)
    mine = pl.read_parquet(ours / "dyn.parquet").filter(pl.col("stay_id").is_in(stays.implode()))
    return {
        "stays": len(stays),
        "rows_of_theirs": cells.height,
        "rows_of_both": int(cells["has_row_ours"].sum()),
        "rows_of_ours": mine.height,
    }


def _static(cohort: Path, ours: Path) -> dict[str, dict[str, int]]:
    """Stays by agreement in age, sex, height and weight."""
    theirs = pl.read_parquet(cohort / "sta.parquet").with_columns(pl.col("stay_id").cast(pl.Int64))
    both = theirs.join(pl.read_parquet(ours / "sta.parquet"), on="stay_id", suffix="_ours", how="inner")
    return {name: _agreement(both, name, f"{name}_ours") for name in ("age", "sex", "height", "weight")}


def _agreement(cells: pl.DataFrame, theirs: str, ours: str) -> dict[str, int]:
    """Cells by what stands in them."""
    a, b, same = pl.col(theirs), pl.col(ours), _is_same(cells, theirs, ours)
    has_a, has_b = a.is_not_null(), b.is_not_null()
    counts = cells.select(
        neither=(~has_a & ~has_b).sum(),
        equal=(has_a & has_b & same).sum(),
        differ=(has_a & has_b & ~same).sum(),
        only_ours=(~has_a & has_b).sum(),
        only_theirs=(has_a & ~has_b).sum(),
    )
    return dict(counts.row(0, named=True))


def _is_same(cells: pl.DataFrame, theirs: str, ours: str) -> pl.Expr:
    """Whether two columns hold the same value, or both none."""
    a, b = pl.col(theirs), pl.col(ours)
    if not cells.schema[theirs].is_numeric():
        return a.eq_missing(b)
    close = (a - b).abs() <= TOLERANCE * pl.max_horizontal(a.abs(), pl.lit(1e-3))
    return close.fill_null(value=False) | (a.is_null() & b.is_null())


def _variables(cells: pl.DataFrame, meds: Path, as_yaib: Path, missing: set[str]) -> list[dict[str, Any]]:
    """One entry per variable of YAIB."""
    tables = dict(pl.read_csv(ITEMS).select("variable", "tables").unique().iter_rows())
    events = _placed_events(meds)
    with_lab = events.filter(pl.col("code").str.starts_with("LAB//"))["stay_id"].unique()
    changed = _changed(events, _placed_events(as_yaib), meds, as_yaib)
    found = []
    for name in yaib_variables():
        needs = tables[name].split(";")
        scope = cells.filter(pl.col("stay_id").is_in(with_lab.implode())) if "lab" in needs else cells
        gone = sorted(missing & set(needs))
        counts = _agreement(scope, name, f"{name}_ours")
        either = sum(counts.values()) - counts["neither"]
        wrong = scope.filter(~_is_same(scope, name, f"{name}_ours"))
        by_items = wrong.filter(_is_same(wrong, name, f"{name}_items"))
        codes = by_items.select(KEYS).join(changed.filter(variable=name), on=KEYS)
        found.append(
            {
                "variable": name,
                "tables_needed": needs,
                "tables_missing": gone,
                "stays": scope["stay_id"].n_unique(),
                "cells_with_a_value_in_either": either,
                **counts,
                "agree": counts["equal"] / either if either else None,
                "agree_with_their_items": _share(scope, name),
                "because_of_items_and_units": by_items.height,
                "because_of_a_missing_table": wrong.height - by_items.height if gone else 0,
                "unexplained": 0 if gone else wrong.height - by_items.height,
                "codes_in_cells_that_disagree": _often(codes["what"]),
            }
        )
    return found


def _often(what: pl.Series) -> list[tuple[str, int]]:
    """Values and how often they are there, the most frequent first."""
    counts = what.value_counts().sort("count", what.name, descending=[True, False])
    return list(counts.iter_rows())


def _share(scope: pl.DataFrame, name: str) -> float | None:
    counts = _agreement(scope, name, f"{name}_items")
    either = sum(counts.values()) - counts["neither"]
    return counts["equal"] / either if either else None


def _placed_events(meds: Path) -> pl.DataFrame:
    """`stay_id, site, time, code, numeric_value` of all events with a value, at the hour since the admission."""
    frame = pl.concat([pl.read_parquet(path) for path in shard_paths(meds)])
    zero = frame.filter(pl.col("code").str.starts_with("ICU_ADMISSION//")).select("subject_id", zero="time")
    hour = (pl.col("time") - pl.col("zero")).dt.total_minutes() // 60
    return (
        frame.drop_nulls(["time", "numeric_value"])
        .join(zero, on="subject_id")
        .select("site", "numeric_value", pl.col("code").cast(pl.String), hour.alias("hour"), stay_id="subject_id")
        .with_columns(time=pl.duration(hours="hour").cast(pl.Duration("ms")))
        .drop("hour")
    )


def _changed(ours: pl.DataFrame, theirs: pl.DataFrame, meds: Path, as_yaib: Path) -> pl.DataFrame:
    """`variable, stay_id, time, what` of the events that the two grids treat differently, and how."""
    codes, items = (read_codes(path).select("code", "concept", "scale") for path in (meds, as_yaib))
    names = [(concept, name) for name, variable in yaib_variables().items() for concept in variable.concepts]
    of_concept = pl.DataFrame(names, schema=["concept", "variable"], orient="row")
    both = codes.join(items, on="code", how="left", suffix="_items").join(of_concept, on="concept")
    in_text = ours.join(theirs, on=ours.columns, how="anti").with_columns(how=pl.lit("in the text only"))
    other_unit = (pl.col("scale") - pl.col("scale_items")).abs() > TOLERANCE
    how = pl.when(pl.col("concept_items").is_null()).then(pl.lit("no item of theirs"))
    treated = both.select("code", "variable", how=how.when(other_unit).then(pl.lit("another unit")))
    units = pl.read_parquet(meds / "metadata" / "units.parquet").filter(decision="refused")
    refused = ours.join(units.select("site", "code"), on=["site", "code"]).with_columns(how=pl.lit("unit refused"))
    found = [
        in_text.join(both.select("code", "variable"), on="code"),
        refused.join(both.select("code", "variable"), on="code"),
        ours.join(treated.drop_nulls("how"), on="code").select(*in_text.columns, "variable"),
    ]
    what = pl.format("{}: {}", "code", "how")
    return pl.concat(found).select("variable", *KEYS, what=what)


def _between_tasks(yaib: Path, as_yaib: Path) -> dict[str, dict[str, int]]:
    """Where YAIB's cohorts hold other values than `los` in the same cells, and what the urine of hour 0 is made of."""
    los = pl.read_parquet(yaib / "los" / "eicu_demo" / "dyn.parquet")
    urine = read_codes(as_yaib).filter(concept="urine_output").select("code")
    low, high = yaib_variables()["urine"][3:]
    events = _placed_events(as_yaib).join(urine, on="code").filter(pl.col("numeric_value").is_between(low, high))
    in_hour = events.filter(pl.col("time") == timedelta(0))
    since_before = events.filter(pl.col("time").is_between(timedelta(hours=-1), timedelta(0)))
    found = {}
    for task in TASKS:
        cohort = pl.read_parquet(yaib / task / "eicu_demo" / "dyn.parquet")
        both = cohort.join(los, on=KEYS, suffix="_los", how="left")
        is_other = both.select("time", *((~_is_same(both, n, f"{n}_los")).alias(n) for n in yaib_variables()))
        per_row = is_other.select("time", cells=pl.sum_horizontal(pl.exclude("time")))
        first = both.filter(pl.col("time") == timedelta(0)).select(pl.col("stay_id").cast(pl.Int64), "urine")
        found[task] = {
            "cells_unlike_los": int(per_row["cells"].sum()),
            "of_them_in_hour_0": int(per_row.filter(pl.col("time") == timedelta(0))["cells"].sum()),
            "urine_of_hour_0": first["urine"].count(),
            "urine_is_that_of_hour_0": _num_equal(first, in_hour),
            "urine_is_that_of_hours_minus_1_and_0": _num_equal(first, since_before),
        }
    return found


def _num_equal(first: pl.DataFrame, events: pl.DataFrame) -> int:
    """Stays whose value is the sum of the events."""
    sums = events.group_by("stay_id").agg(pl.col("numeric_value").sum())
    both = first.drop_nulls("urine").join(sums, on="stay_id")
    return int(both.select((pl.col("urine") == pl.col("numeric_value")).sum()).item())


if __name__ == "__main__":
    main()
