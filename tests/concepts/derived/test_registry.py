"""What holds for every derivation: order of rows, future rows, other subjects, empty tables, known names and codes."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.task_records import Row, at, table
from sojourn.concepts.derived import ONSETS, SCORES, derive_onsets, derive_scores
from sojourn.errors import ConfigError
from sojourn.tasks.outcomes import derive_outcomes, outcomes

DRAWN = {
    "CONCEPT//po2": (40, 300),
    "CONCEPT//fio2": (21, 100),
    "CONCEPT//platelets": (5, 300),
    "CONCEPT//bilirubin_total": (0.5, 14),
    "CONCEPT//map": (50, 90),
    "CONCEPT//gcs_total": (3, 15),
    "CONCEPT//creatinine": (0.5, 5),
    "CONCEPT//urine_output": (0, 300),
    "CONCEPT//weight": (60, 90),
    "CONCEPT//norepinephrine//start": (0, 0.3),
    "CONCEPT//norepinephrine//end": None,
    "CONCEPT//dopamine//start": (0, 20),
    "CONCEPT//ventilation//start": None,
    "CONCEPT//ventilation//end": None,
    "CONCEPT//rrt//start": None,
    "CONCEPT//rrt//end": None,
    "CONCEPT//antibiotic//start": None,
    "CONCEPT//culture//blood": None,
    "CONCEPT//heart_rate": (40, 150),
    "ICU_ADMISSION//MICU": None,
    "ICU_DISCHARGE//ALIVE": None,
}


@st.composite
def records(draw: st.DrawFn) -> list[Row]:
    """A stay of one subject with anything in it, in any order."""
    size = draw(st.integers(5, 60))
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 0, "CONCEPT//weight", 80)]
    for _ in range(size):
        code = draw(st.sampled_from(sorted(DRAWN)))
        limits = DRAWN[code]
        value = None if limits is None else round(draw(st.floats(*limits)), 2)
        rows.append((1, draw(st.integers(0, 480)) / 4, code, value))
    return rows


@settings(deadline=None, max_examples=15)
@given(records(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Row], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert derive_scores(table(rows)).equals(derive_scores(table(shuffled)))
    onsets = derive_onsets(table(shuffled), list(ONSETS))
    assert all(found.equals(onsets[name]) for name, found in derive_onsets(table(rows), list(ONSETS)).items())


@settings(deadline=None, max_examples=40)
@given(records(), st.integers(0, 60))
def test_future_rows_never_change_what_was_told_before(rows: list[Row], index: int) -> None:
    rows.sort(key=lambda row: row[1] or 0)
    now = rows[index % len(rows)][1]
    assert now is not None
    past = derive_scores(table([row for row in rows if (row[1] or 0) <= now]))
    whole = derive_scores(table(rows)).filter(pl.col("time") <= at(now))
    assert past.filter(pl.col("time") <= at(now)).equals(whole)
    assert past["time"].is_null().sum() == 0


@settings(deadline=None, max_examples=20)
@given(records())
def test_scores_stay_in_their_range_and_inside_the_record(rows: list[Row]) -> None:
    found = derive_scores(table(rows))
    value = found["numeric_value"].drop_nulls()
    assert (value >= 0).all()
    for prefix, highest in (("DERIVED//sofa", 24), ("DERIVED//kdigo", 3), ("DERIVED//sofa//renal", 4)):
        of_code = found.filter(pl.col("code").str.starts_with(prefix))["numeric_value"].drop_nulls()
        assert (of_code <= highest).all()
    last = max(row[1] for row in rows if row[1] is not None)
    assert found.filter(~pl.col("time").is_between(at(0), at(last))).is_empty()
    assert set(found["code"]) <= {code for score in SCORES.values() for code in score.codes}


@settings(deadline=None, max_examples=20)
@given(records(), records())
def test_subjects_do_not_touch_each_other(first: list[Row], second: list[Row]) -> None:
    other: list[Row] = [(2, *row[1:]) for row in second]  # type: ignore[misc]
    alone = derive_scores(table(first))
    both = derive_scores(table([*first, *other]))
    assert both.filter(pl.col("subject_id") == 1).equals(alone)
    onsets = derive_onsets(table([*first, *other]), list(ONSETS))
    for name, found in derive_onsets(table(first), list(ONSETS)).items():
        assert onsets[name].filter(pl.col("subject_id") == 1).equals(found)


def test_nothing_comes_from_an_empty_table_or_from_static_rows() -> None:
    for rows in ([], [(1, None, "GENDER//F")], [(1, 0, "CONCEPT//heart_rate", 80.0)]):
        assert derive_scores(table(rows)).is_empty()
        assert derive_scores(table(rows)).schema == table([]).schema
        assert all(found.is_empty() for found in derive_onsets(table(rows), list(ONSETS)).values())


def test_one_score_at_a_time_gives_the_same_as_all() -> None:
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//A"), (1, 0, "CONCEPT//weight", 80), (1, 3, "CONCEPT//urine_output", 50)]
    rows += [(1, 9, "CONCEPT//urine_output", 100), (1, 9, "CONCEPT//creatinine", 2), (1, 50, "ICU_DISCHARGE//ALIVE")]
    together = derive_scores(table(rows))
    apart = pl.concat(derive_scores(table(rows), [name]) for name in SCORES)
    assert together.equals(apart.sort("subject_id", "time", "code", "numeric_value"))
    with pytest.raises(ConfigError, match="apache"):
        derive_scores(table(rows), ["apache"])


def test_a_derived_outcome_is_an_outcome_like_any_other() -> None:
    names = {name for name, outcome in outcomes().items() if outcome.kind == "derived"}
    assert names == set(ONSETS)
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//A"), (1, 1, "CONCEPT//creatinine", 1), (1, 9, "CONCEPT//creatinine", 3.1)]
    found = derive_outcomes(table(rows)).filter(pl.col("code").str.contains("kdigo"))
    assert found["code"].to_list() == [
        "OUTCOME//aki_kdigo",
        "OUTCOME//aki_kdigo_recorded",
        "OUTCOME//kdigo_stage_2",
        "OUTCOME//kdigo_stage_3",
    ]
    assert (found["time"] == at(9)).all()
    again = table(rows).vstack(found.cast(table([]).schema))  # type: ignore[arg-type]
    assert derive_outcomes(again).filter(pl.col("code").str.contains("kdigo")).is_empty()


@pytest.mark.real
def test_the_open_intensive_care_demos_give_scores_for_nearly_every_stay(sojourn_data: Path) -> None:
    """From raw tables: the hourly labs and the pressures of the eICU stays that YAIB kept have a SOFA score."""
    folder = sojourn_data / "yaib-demo" / "sepsis" / "eicu_demo"
    dyn = pl.read_parquet(folder / "dyn.parquet", columns=["stay_id", "time", "map", "crea", "plt", "bili"])
    who, hour = pl.col("stay_id").cast(pl.Int64).alias("subject_id"), pl.lit(at(0)) + pl.col("time")
    begin = dyn.select("stay_id").unique().select(who, pl.lit(at(0)).alias("time"), code=pl.lit("ICU_ADMISSION//X"))
    names = {"map": "map", "crea": "creatinine", "plt": "platelets", "bili": "bilirubin_total"}
    values = [
        dyn.drop_nulls(column).select(who, time=hour, code=pl.lit(f"CONCEPT//{name}"), numeric_value=pl.col(column))
        for column, name in names.items()
    ]
    events = pl.concat([begin.with_columns(numeric_value=pl.lit(None, pl.Float64)), *values], how="vertical_relaxed")
    events = events.cast(table([]).schema)  # type: ignore[arg-type]
    found = derive_scores(events, ["sofa"])
    assert found["subject_id"].n_unique() > 0.98 * begin.height
    total = found.filter(pl.col("code") == "DERIVED//sofa//total")["numeric_value"]
    assert 0 <= total.min() <= total.max() <= 4 * len(names)  # type: ignore[operator]
