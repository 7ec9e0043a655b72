"""An hourly grid of each stay, for tools that want tables: one row per stay and hour, one column per variable."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from sojourn.errors import ConfigError, DataError
from sojourn.files import atomic_folder
from sojourn.tasks.cells import fill_forward, number_stays, place_values
from sojourn.tasks.cohort import ADMISSIONS, STAY_ROOTS, Records, stays_of
from sojourn.tasks.facts import SIZES, describe_stays, iterate_facts
from sojourn.tasks.grid_files import write_grid
from sojourn.tasks.grid_variables import YAIB, GridVariable, grid_variables
from sojourn.tasks.reading import codes_of, iterate_records

__all__ = ["GridReport", "hourly_grid"]

Layout = Literal["sojourn", "yaib"]
Fill = Literal["none", "forward"]
_LAYOUTS = ("sojourn", YAIB)
_FILLS = ("none", "forward")
_ANCHORS = tuple(ADMISSIONS)


@dataclass(frozen=True, slots=True)
class GridReport:
    """What a grid holds."""

    path: Path
    """The folder."""
    num_subjects: int
    """Subjects with at least one row."""
    num_stays: int
    """Stays with at least one row."""
    num_rows: int
    """Rows: stays times their cells."""
    num_values: int
    """Cells of the variables in which something was observed (or, with `fill`, repeated)."""
    num_outside_limits: int
    """Values that were left out for being outside their limits."""
    observed: dict[str, int]
    """Variable -> its cells with a value."""
    absent: tuple[str, ...]
    """Variables of which the data set has no code at all."""


class _Rules(NamedTuple):
    """How cells are made."""

    variables: list[GridVariable]
    every_hours: float
    max_hours: float
    anchor: str
    fill: Fill
    layout: Layout


class _Part(NamedTuple):
    """The grid of some subjects."""

    values: pl.DataFrame
    counts: pl.DataFrame
    stays: pl.DataFrame
    num_outside_limits: int


def hourly_grid(
    dataset: Path,
    out: Path,
    *,
    concepts: Sequence[str] | Literal["yaib"] | None = None,
    every_hours: float = 1.0,
    anchor: str = "icu_admission",
    max_hours: float = 168.0,
    aggregate: str | None = None,
    fill: Fill = "none",
    layout: Layout = "sojourn",
    counts: bool = False,
) -> GridReport:
    """Lay a grid over each stay and write what was observed in each of its cells.

    Parameters
    ----------
    dataset
        MEDS data set or event store.
    out
        Folder to make. ``sojourn``: `grid.parquet` (`subject_id` i64, `stay` i32 from 1, `hour` at which the cell
        begins, one f32 column per variable) and `stays.parquet` (one row per stay: `subject_id, stay, site,
        admission, discharge, age` in years, `sex, height` in cm, `weight` in kg). ``yaib``: `dyn.parquet` (`stay_id`,
        `time` as a duration, f64 columns), `sta.parquet` (`stay_id, age, sex, height, weight`) and `stays.parquet`,
        which says whose stay each `stay_id` is. All are sorted by stay and time. Null: nobody looked.
    concepts
        Columns: shared concepts or abbreviations of YAIB; ``"yaib"``: YAIB's 48; None: all concepts, or YAIB's 48 in
        its layout.
    every_hours
        Length of a cell.
    anchor
        ``icu_admission`` or ``hospital_admission``: where a stay and its hours begin.
    max_hours
        Where the grid of a longer stay ends.
    aggregate
        One of median, mean, last, first, min, max, sum for every column; None: each concept's own, such as the mean of
        vital signs, the last of laboratory results and the sum of urine.
    fill
        ``forward`` repeats the last value of the stay; never an output, and never from before the stay.
    layout
        ``yaib`` also follows YAIB's rules: medians, the limits of `ricu` instead of wide ones, and a last cell that
        counts as a whole (see `sojourn.tasks.cells.number_stays`).
    counts
        Write `counts.parquet` as well: the same rows with the number of values in each cell.

    Returns
    -------
    GridReport

    Raises
    ------
    DataError
        If `dataset` is no data set, has no such stays, or `out` exists.
    ConfigError
        If another argument is none of those above.

    Notes
    -----
    The data set is read part by part and the parts are merged by subject, so memory is that of the largest part.
    """
    _check(every_hours, max_hours, {"anchor": (anchor, _ANCHORS), "fill": (fill, _FILLS), "layout": (layout, _LAYOUTS)})
    wanted = YAIB if concepts is None and layout == YAIB else concepts
    variables = grid_variables(wanted, yaib_rules=layout == YAIB, aggregate=aggregate)
    rules = _Rules(variables, every_hours, max_hours, anchor, fill, layout)
    known = codes_of(dataset)
    absent = tuple(v.name for v in variables if known.isdisjoint(v.codes()))
    with atomic_folder(out) as part, tempfile.TemporaryDirectory(dir=part) as scratch:
        parts = [_keep(made, Path(scratch), i) for i, made in enumerate(_parts(dataset, rules))]
        stays = pl.concat([stays for stays, _ in parts])
        if stays.is_empty():
            msg = f"dataset must have stays to lay a grid over; {dataset} has no {ADMISSIONS[anchor]} with an end."
            raise DataError(msg)
        observed = write_grid(part, Path(scratch), stays, every_hours=every_hours, layout=layout, counts=counts)
    return GridReport(
        path=out,
        num_subjects=stays["subject_id"].n_unique(),
        num_stays=stays.height,
        num_rows=int(stays["num_cells"].sum()),
        num_values=sum(observed.values()),
        num_outside_limits=sum(outside for _, outside in parts),
        observed=observed,
        absent=absent,
    )


def _check(every_hours: float, max_hours: float, choices: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    """Refuse settings that make no grid."""
    for name, number in (("every_hours", every_hours), ("max_hours", max_hours)):
        if not number > 0:
            msg = f"{name} must be above 0; got {number:g}."
            raise ConfigError(msg)
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            msg = f"{name} must be one of {', '.join(allowed)}; got {value!r}."
            raise ConfigError(msg)


def _parts(dataset: Path, rules: _Rules) -> Iterator[_Part]:
    """The grid of each part of the data set."""
    roots = [*STAY_ROOTS, *SIZES, *(code for variable in rules.variables for code in variable.codes())]
    for records, facts in zip(iterate_records(dataset, roots), iterate_facts(dataset), strict=True):
        yield _grid_of(records, facts, rules)


def _grid_of(records: Records, facts: pl.DataFrame, rules: _Rules) -> _Part:
    """Values, counts and stays of whole subjects."""
    found = stays_of(records, rules.anchor).drop_nulls("anchor")
    found = found.with_columns(stay_end=pl.coalesce("stay_end", "follow_up")).drop_nulls("stay_end")
    is_yaib = rules.layout == YAIB
    stays = number_stays(found, rules.every_hours, rules.max_hours, whole_last_cell=is_yaib)
    stays = stays.filter(pl.col("num_cells") > 0)
    placed = place_values(records.events, stays, rules.variables, rules.every_hours)
    values = fill_forward(placed.values, rules.variables) if rules.fill == "forward" else placed.values
    return _Part(values, placed.counts, describe_stays(stays, records.events, facts), placed.num_outside_limits)


def _keep(made: _Part, scratch: Path, index: int) -> tuple[pl.DataFrame, int]:
    """Put a part's cells on disk; its stays are few."""
    made.values.write_parquet(scratch / f"values-{index:05}.parquet")
    made.counts.write_parquet(scratch / f"counts-{index:05}.parquet")
    return made.stays, made.num_outside_limits
