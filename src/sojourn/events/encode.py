"""One piece of a MEDS data set to the arrays of one shard: pure, no files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events import codes as grammar
from sojourn.events.arrange import Events, Ints, insert_events, sort_events, sort_moments
from sojourn.events.count import count_codes, describe_subjects
from sojourn.events.derive import Derive, Reads, derive_events
from sojourn.events.rows import Accounts, Rows, read_rows
from sojourn.events.sketch import ValueSketch, sketch_values
from sojourn.events.units import is_marked, unmarked
from sojourn.events.words import dictionary_encode

SplitOf = Callable[[Ints], tuple[npt.NDArray[np.str_], int]]
"""Subject ids to their splits, and how many of them were assigned by hash."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A shard before the store's vocabulary is known: its codes are local."""

    codes: pl.DataFrame
    """Local vocabulary by name: code, target_only, count, num_static, num_values, num_subjects."""
    sources: pl.DataFrame
    """Codes as they are in the data, by name: source, code, scale, offset; row number = group of `sketch`."""
    events: Events
    """Timed events, sorted; codes are local."""
    static: Events
    """Static facts, sorted; their seconds are 0."""
    subjects: pl.DataFrame
    """One row per subject: subject_id, site, split, origin, birth, num_static and what `describe_subjects` gives."""
    sketch: ValueSketch
    """Raw values of training subjects by source code."""
    accounts: Accounts
    """What became of each row read."""


class _Mapping(NamedTuple):
    """How source codes become codes of the shard; [number of source codes] each."""

    table: pl.DataFrame
    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    """Limits of what is plausible, after the conversion; infinite: none."""
    local: npt.NDArray[np.uint32]
    names: pl.Series
    is_target: npt.NDArray[np.bool_]


def encode(
    frame: pl.DataFrame,
    table: pl.DataFrame,
    *,
    split_of: SplitOf,
    derive: Derive | None = None,
    reads: Reads | None = None,
    use_concepts: bool = True,
) -> Encoded:
    """Encode the rows of whole subjects.

    Parameters
    ----------
    frame : pl.DataFrame
        Columns of `rows.PIECE_SCHEMA`; codes may be marked (see `sojourn.events.units`).
    table : pl.DataFrame
        Columns of `meds.CODES_SCHEMA`, with a row for each marked code; codes that it lacks keep their name and value.
    split_of : callable
        Gives the split of each subject.
    derive : callable, optional
        Maps timed events (subject_id, time, code, numeric_value) to further target-only ones.
    reads : callable, optional
        The codes that `derive` looks at, if it is not all of them.
    use_concepts : bool
        False: codes and values stay as they are, and only `derive` is shown concepts.

    Raises
    ------
    DataError
        If `derive` breaks its contract.
    """
    rows, accounts = read_rows(frame, targets=table.filter("target_only")["code"])
    meaning = _map_codes(rows.names, table)
    mapping = meaning if use_concepts else _map_codes(rows.names, _without_concepts(table))
    _note_units(accounts, rows, meaning)
    splits, num_assigned = split_of(rows.ids)
    accounts.notes["splits_assigned"] += num_assigned
    events, static = _convert(rows.events, mapping), _convert(rows.static, mapping)
    accounts.notes["values_implausible"] += _num_hidden(rows.events, events) + _num_hidden(rows.static, static)
    sketch = _sketch(rows, np.concatenate([events.value, static.value]), splits == "train")
    events = sort_moments(events)
    names, is_target = mapping.names, mapping.is_target
    if derive is not None:
        told = events if use_concepts else sort_moments(_convert(rows.events, meaning))
        who = {"ids": rows.ids, "origin": rows.origin}
        more = derive_events(derive, told, names=meaning.names, **who, reads=reads, into=names)
        accounts.notes["derived_events"] += len(more.events.code)
        events = insert_events(more.renumber(events), more.events)
        static = more.renumber(static)
        is_target = more.is_target(is_target)
        names = more.names
    events, static = sort_events(events), sort_events(static)
    codes = pl.DataFrame({"code": names, "target_only": is_target})
    terminal = codes.select(grammar.is_terminal_expr()).to_series().to_numpy()
    return Encoded(
        codes=codes.hstack(count_codes(events, static, len(codes))),
        sources=mapping.table,
        events=events,
        static=static,
        subjects=_subjects(rows, splits, events, static, codes.with_columns(is_terminal=terminal)),
        sketch=sketch,
        accounts=accounts,
    )


def _map_codes(sources: pl.Series, table: pl.DataFrame) -> _Mapping:
    """Look up the concepts of the source codes and number the codes that result by name."""
    found = (
        pl.DataFrame({"source": sources})
        .join(table, left_on="source", right_on="code", how="left", maintain_order="left")
        .with_columns(
            pl.col("scale").fill_null(1.0),
            pl.col("offset").fill_null(0.0),
            pl.col("concept_min").fill_null(-np.inf),
            pl.col("concept_max").fill_null(np.inf),
            code=pl.coalesce(pl.lit(grammar.CONCEPT + grammar.SEPARATOR) + pl.col("concept"), unmarked("source")),
            target_only=pl.col("target_only").fill_null(value=False) | grammar.is_outcome_expr("source"),
        )
    )
    local, names = dictionary_encode(found["code"])
    is_target = np.zeros(len(names), np.bool_)
    np.logical_or.at(is_target, local, found["target_only"].to_numpy())
    return _Mapping(
        found.select("source", "code", "scale", "offset"),
        found["scale"].to_numpy(),
        found["offset"].to_numpy(),
        # Values are float32: a limit of 0.4 must not hide a value of 0.4.
        found["concept_min"].to_numpy().astype(np.float32),
        found["concept_max"].to_numpy().astype(np.float32),
        local,
        names,
        is_target,
    )


def _without_concepts(table: pl.DataFrame) -> pl.DataFrame:
    """The same codes, with nothing said about what they mean."""
    nothing = dict.fromkeys(("concept_min", "concept_max"), pl.lit(None, pl.Float64))
    return table.with_columns(concept=pl.lit(None, pl.String), scale=pl.lit(1.0), offset=pl.lit(0.0), **nothing)


def _note_units(accounts: Accounts, rows: Rows, mapping: _Mapping) -> None:
    """Count the values whose unit is not the one of their code."""
    marked = mapping.table.select(mark=is_marked("source"), refused=pl.col("code") == unmarked("source"))
    if not marked["mark"].any():
        return
    codes = [part.code[~np.isnan(part.value)] for part in (rows.events, rows.static)]
    count = np.bincount(np.concatenate(codes), minlength=len(marked))
    for name, chosen in (("values_unit_changed", ~pl.col("refused")), ("values_unit_refused", pl.col("refused"))):
        is_chosen = marked.select(pl.col("mark") & chosen).to_series().to_numpy()
        accounts.notes[name] += int(count[is_chosen].sum())


def _convert(events: Events, mapping: _Mapping) -> Events:
    """Source codes and raw values to local codes and values in the concept's unit, NaN where they are implausible."""
    value = events.value + np.float32(0)  # -0 becomes 0
    is_changed = (mapping.scale != 1) | (mapping.offset != 0)
    if is_changed.any():
        at = np.flatnonzero(is_changed[events.code])
        code = events.code[at]
        value[at] = value[at] * mapping.scale[code] + mapping.offset[code]
    has_limits = np.isfinite(mapping.low) | np.isfinite(mapping.high)
    if has_limits.any():
        at = np.flatnonzero(has_limits[events.code])
        code = events.code[at]
        value[at[(value[at] < mapping.low[code]) | (value[at] > mapping.high[code])]] = np.nan
    return events._replace(code=mapping.local[events.code], value=value)


def _num_hidden(raw: Events, converted: Events) -> int:
    """Values that are no longer there."""
    return int(np.count_nonzero(np.isnan(converted.value)) - np.count_nonzero(np.isnan(raw.value)))


def _sketch(rows: Rows, converted: npt.NDArray[np.float32], is_train: npt.NDArray[np.bool_]) -> ValueSketch:
    """Summarise the raw values of training subjects by source code, those that `converted` shows."""
    code, value, subject = (
        np.concatenate([getattr(part, name) for part in (rows.events, rows.static)])
        for name in ("code", "value", "subject")
    )
    is_shown = is_train[subject] & ~np.isnan(converted)
    return sketch_values(code, value if is_shown.all() else np.where(is_shown, value, np.float32(np.nan)))


def _subjects(
    rows: Rows,
    splits: npt.NDArray[np.str_],
    events: Events,
    static: Events,
    codes: pl.DataFrame,
) -> pl.DataFrame:
    """Everything that the store says about each subject, but its place."""
    num = len(rows.ids)
    birth = pl.Series("birth", rows.birth).set(pl.Series(~rows.has_birth), None).cast(pl.Datetime("us"))
    about = pl.DataFrame(
        {
            "subject_id": rows.ids,
            "site": rows.site,
            "split": pl.Series(splits.tolist(), dtype=pl.String),
            "origin": pl.Series(rows.origin).cast(pl.Datetime("us")),
            "birth": birth,
            "num_static": np.bincount(static.subject, minlength=num),
        }
    )
    extent = describe_subjects(
        events,
        is_target=codes["target_only"].to_numpy(),
        is_terminal=codes["is_terminal"].to_numpy(),
        is_death=(codes["code"] == grammar.DEATH).to_numpy(),
        num_subjects=num,
    )
    return about.hstack(extent)
