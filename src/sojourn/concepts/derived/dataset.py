"""Derived events of a whole MEDS data set: piece by piece of whole subjects, so memory does not grow with it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sojourn.concepts.derived.record import COLUMNS, at_or_below
from sojourn.concepts.derived.registry import SCORES, derive_scores
from sojourn.events import meds
from sojourn.events.lineage import write_lineage
from sojourn.events.pieces import read_piece
from sojourn.events.plan import Piece, pack, read_subjects
from sojourn.events.units import UnitRules, mark, read_rules
from sojourn.files import atomic_folder
from sojourn.progress import progress_bar


@dataclass(frozen=True, slots=True)
class DeriveReport:
    """What `derive` has written."""

    dataset: str
    """Folder of the new data set."""
    num_subjects: int
    num_events: int
    """Events of the data set that was read."""
    num_derived: int
    """Events that were added."""
    events: dict[str, int]
    """Derived code -> its events; a code that could not be derived is not there."""


def derive(dataset: Path, out: Path, *, scores: Sequence[str] | None = None) -> DeriveReport:
    """Copy a MEDS data set and add scores and episodes to it.

    Parameters
    ----------
    dataset : Path
        MEDS data set whose codes are mapped to concepts, as `sojourn ingest` makes it.
    out : Path
        MEDS data set to make: the same events with the `DERIVED//...` ones, ready for `build`.
    scores : sequence of str, optional
        Names in `SCORES`; all without it.

    Raises
    ------
    ConfigError
        If a score is not known.
    DataError
        If `out` exists, or the data set cannot be read.

    Notes
    -----
    The rows of a subject stay in one shard. One piece of `PIECE_ROWS` rows, rounded up to whole subjects, is held in
    memory at a time.
    """
    names = list(SCORES) if scores is None else list(scores)
    derive_scores(pl.DataFrame(schema=COLUMNS), names)  # a wrong name stops it at once
    rules, added = read_rules(dataset), Counter[str]()
    num_subjects = num_events = 0
    paths = meds.shard_paths(dataset)
    with atomic_folder(out) as part, progress_bar("deriving", None) as bar:
        shards = ((path, read_subjects(path)[1]) for path in paths)
        for index, spans in enumerate(pack(shards)):
            rows, derived = _piece(Piece(index, dataset.name, dataset, spans), rules, names)
            meds.write_table(_together(rows, derived), part / "data" / f"{index}.parquet")
            added.update(dict(derived.group_by("code").len().iter_rows()))
            num_subjects += rows["subject_id"].n_unique()
            num_events += rows.height
            bar.advance()
        _metadata(dataset, part, names, added)
        write_lineage(dataset, part)
    return DeriveReport(str(out), num_subjects, num_events, added.total(), dict(sorted(added.items())))


def _piece(piece: Piece, rules: UnitRules, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of a piece as they are, and what is derived from them."""
    spans = (pl.scan_parquet(span.path, glob=False).slice(span.offset, span.num_rows).collect() for span in piece.spans)
    rows = pl.concat(spans, how="diagonal_relaxed")
    roots = [root for name in names for root in SCORES[name].roots]
    return rows, derive_scores(as_concepts(read_piece(piece), rules, roots), names)


def as_concepts(rows: pl.DataFrame, rules: UnitRules, roots: Sequence[str]) -> pl.DataFrame:
    """Rows (`PIECE_SCHEMA`) as events of concepts, in their units, of codes at or below `roots`.

    A flagged value is null. One event `LAST` of each subject stands for all others: it tells how far the record goes.
    """
    marked = mark(rows, rules.marks)
    meaning = (
        pl.DataFrame({"code": marked["code"].drop_nulls().unique().sort()})
        .join(rules.codes.select("code", "concept", "scale", "offset"), on="code", how="left", maintain_order="left")
        .with_columns(told=pl.coalesce("CONCEPT//" + pl.col("concept"), "code"))
    )
    read = meaning.filter(pl.col("told").is_in(at_or_below(meaning["told"].to_list(), roots)))
    value = pl.when(~pl.col("is_flagged")).then("numeric_value").cast(pl.Float64)
    scaled = value * pl.col("scale").fill_null(1.0) + pl.col("offset").fill_null(0.0)
    others = marked.filter(pl.col("time").is_not_null()).group_by("subject_id").agg(pl.col("time").max())
    return pl.concat(
        [
            marked.join(read, on="code", how="inner").select(
                "subject_id", "time", code="told", numeric_value=scaled.cast(pl.Float32)
            ),
            others.select("subject_id", "time", code=pl.lit("LAST"), numeric_value=pl.lit(None, pl.Float32)),
        ]
    )


def _together(rows: pl.DataFrame, derived: pl.DataFrame) -> pl.DataFrame:
    """Rows and derived events in the order of MEDS, with the columns of the rows."""
    if "site" in rows.columns:
        sites = rows.group_by("subject_id", maintain_order=True).agg(pl.col("site").drop_nulls().first())
        derived = derived.join(sites, on="subject_id", how="left")
    absent = (pl.lit(None, dtype).alias(name) for name, dtype in rows.schema.items() if name not in derived.columns)
    same = derived.with_columns(*absent).select(pl.col(name).cast(dtype) for name, dtype in rows.schema.items())
    first = {name: i for i, name in enumerate(rows["subject_id"].unique(maintain_order=True))}
    order = pl.col("subject_id").replace_strict(first, return_dtype=pl.Int64)
    return pl.concat([rows, same]).sort(order, "time", maintain_order=True, nulls_last=False)


def _metadata(dataset: Path, part: Path, names: Sequence[str], added: Counter[str]) -> None:
    """The data set's own metadata, with a row for each code that was derived."""
    for path in sorted((dataset / "metadata").glob("*")):
        if path.is_file() and path.name != "codes.parquet":
            target = part / "metadata" / path.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    path = dataset / "metadata" / "codes.parquet"
    known = pl.read_parquet(path, glob=False) if path.exists() else pl.DataFrame(schema=meds.CODES_SCHEMA)
    about = {code: told for name in names for code, told in SCORES[name].codes.items() if added[code]}
    new: list[dict[str, Any]] = [
        {"code": code, "description": text, "unit": unit, "target_only": False} for code, (text, unit) in about.items()
    ]
    schema = {name: dtype for name, dtype in known.schema.items() if not new or name in new[0]}
    rows = pl.DataFrame(new, schema=schema).filter(~pl.col("code").is_in(known["code"].implode()))
    meds.write_table(pl.concat([known, rows], how="diagonal").sort("code"), part / "metadata" / "codes.parquet")
