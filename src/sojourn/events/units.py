"""Units that differ between the sites of a data set: its table, applied row by row before codes become concepts.

A row whose site records its code in another unit than ``metadata/codes.parquet`` says gets a *marked* code, which has a
conversion of its own; everything after that treats it as one more local code. A marked code without a concept is a
refusal: its mark is taken off again, and the event keeps its local code and its number.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sojourn.errors import SchemaError
from sojourn.events import meds

UNITS = Path("metadata/units.parquet")

UNITS_SCHEMA: dict[str, Any] = {
    "site": pl.String,
    "code": pl.String,
    "concept": pl.String,
    "declared_unit": pl.String,
    "unit": pl.String,
    "concept_unit": pl.String,
    "scale": pl.Float64,
    "offset": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "confidence": pl.Float64,
    "num_values": pl.Int64,
    "num_subjects": pl.Int64,
    "decision": pl.String,
    "reason": pl.String,
}
"""Columns of ``metadata/units.parquet``, one row for a code at a site: recorded values from `low` to `high` (null: all
that no other row of the pair takes) are in `unit`, and ``value * scale + offset`` is in that of the concept; no scale:
the value is kept as it is, under the local code."""

DECLARED, INFERRED, MIXED, REFUSED, OVERRIDDEN = "declared", "inferred", "mixed", "refused", "overridden"
DECISIONS = (DECLARED, INFERRED, MIXED, REFUSED, OVERRIDDEN)
"""Values of `decision`."""

OUTSIDE = "outside_all_units"
"""Reason of the refused part of a mixture."""

MARK = "\x1f"
"""Ends the local part of a marked code; no source writes this character."""


class UnitRules(NamedTuple):
    """What is to be done otherwise than ``metadata/codes.parquet`` says."""

    codes: pl.DataFrame
    """All codes of the data set (`meds.CODES_SCHEMA`), marked ones included."""
    marks: pl.DataFrame
    """`site`, `code`, `low`, `high`, `marked`; empty where nothing differs."""


def read_rules(dataset: Path) -> UnitRules:
    """The codes of a data set, and the marks that its table of units asks for.

    Raises
    ------
    SchemaError
        If the table of units lacks a column.
    """
    codes, path = meds.read_codes(dataset), dataset / UNITS
    marks = pl.DataFrame(schema={**{name: UNITS_SCHEMA[name] for name in _WHERE}, "marked": pl.String})
    if not path.exists():
        return UnitRules(codes, marks)
    table = pl.read_parquet(path, glob=False)
    missing = [name for name in (*_WHERE, "scale", "offset") if name not in table.columns]
    if missing:
        msg = f"{path} must have the columns {', '.join(UNITS_SCHEMA)}; {missing} are missing. Run `sojourn units`."
        raise SchemaError(msg)
    others = _others(table.select(*_WHERE, "scale", "offset"), codes)
    marked = others.join(codes.drop("scale", "offset"), on="code", how="left", maintain_order="left")
    is_refused = pl.col("scale").is_null()
    hidden = [pl.when(~is_refused).then(name).alias(name) for name in _TOLD_OF_CONCEPT]
    marked = marked.with_columns(*hidden).with_columns(
        pl.col("scale").fill_null(1.0),
        pl.col("offset").fill_null(0.0),
        code=pl.col("marked"),
        unit=pl.lit(None, pl.String),  # what the code says of its unit is not so at these sites
    )
    new = marked.select(codes.columns).unique("code", keep="first", maintain_order=True)
    return UnitRules(pl.concat([codes, new]), others.select(*_WHERE, "marked"))


_WHERE = ("site", "code", "low", "high")
_TOLD_OF_CONCEPT = ("concept", "concept_unit", "concept_description", "concept_min", "concept_max")


def _others(table: pl.DataFrame, codes: pl.DataFrame) -> pl.DataFrame:
    """Rows of pairs of which any part differs from the conversion of the code, with the name of the marked code."""
    usual = codes.filter(pl.col("concept").is_not_null()).select("code", _scale="scale", _offset="offset")
    both = table.join(usual, on="code", how="inner", maintain_order="left")
    is_other = pl.col("scale").ne_missing(pl.col("_scale")) | pl.col("offset").ne_missing(pl.col("_offset"))
    kept = both.filter(is_other.any().over("site", "code")).sort("code", "scale", "offset", "site", "low")
    number = pl.struct("scale", "offset").rank("dense").over("code").cast(pl.String)
    mark = pl.when(pl.col("scale").is_null()).then(pl.lit("raw")).otherwise(number)
    return kept.with_columns(marked=pl.concat_str("code", pl.lit(MARK), mark)).drop("_scale", "_offset")


def mark(rows: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    """Mark the codes of rows whose unit is not that of their code.

    Parameters
    ----------
    rows : DataFrame with `site`, `code` and `numeric_value` (null or NaN: none; such rows keep their code).
    marks : `UnitRules.marks`.
    """
    if not len(marks):
        return rows
    value = pl.col("numeric_value").fill_nan(None)
    names = marks["code"].unique().implode()
    concerned = rows.with_row_index("_at").filter(pl.col("code").is_in(names) & value.is_not_null())
    found = (
        concerned.select("_at", "site", "code", "numeric_value")
        .join(marks, on=["site", "code"], how="inner", nulls_equal=True)
        .filter(pl.col("low").is_null() | pl.col("numeric_value").is_between("low", "high"))
        .sort("_at", "low", nulls_last=True)
        .unique("_at", keep="first", maintain_order=True)
    )
    if not len(found):
        return rows
    return rows.with_columns(rows["code"].clone().scatter(found["_at"], found["marked"]))


def marked_shards(dataset: Path, rules: UnitRules) -> Iterator[tuple[Path, pl.LazyFrame]]:
    """Each shard's path and its table, with marked codes; as `meds.iterate_shards` where there is nothing to mark."""
    for path, scan in meds.iterate_shards(dataset):
        names = scan.collect_schema().names()
        if not len(rules.marks) or "numeric_value" not in names:
            yield path, scan
            continue
        site = meds.site_column(dataset, names)
        rows = scan.with_columns(
            _site=pl.lit(None, pl.String) if site is None else pl.col(site).cast(pl.String),
            code=pl.col("code").cast(pl.String),
        ).collect()
        told = mark(rows.select("code", "numeric_value", site="_site"), rules.marks)
        yield path, rows.with_columns(told["code"]).drop("_site").lazy()


def unmarked(code: str = "code") -> pl.Expr:
    """The local code of a code that may be marked."""
    return pl.col(code).str.split(MARK).list.first()


def is_marked(code: str = "code") -> pl.Expr:
    """Whether a code is marked."""
    return pl.col(code).str.contains(MARK, literal=True)


@dataclass(frozen=True, slots=True)
class UnitsReport:
    """What was decided about units, in pairs of a site and a code."""

    dataset: str
    """The data set."""
    num_pairs: int
    """Pairs with values."""
    declared: int
    """The declared unit is used."""
    inferred: int
    """Another unit is used, or one where none was declared."""
    mixed: int
    """Values of several units, told apart one by one."""
    refused: int
    """Kept as they are, under the local code."""
    overridden: int
    """Somebody said so."""
    values_refused: int
    """Values of refused pairs, and those of mixed pairs that are of no unit."""
    table: tuple[dict[str, Any], ...]
    """Every pair that does not simply use its declared unit: site, code, concept, declared_unit, unit, confidence,
    num_values, decision, reason."""
    unused_overrides: tuple[str, ...] = ()
    """Lines of the override file that speak of no pair, as where a name is misspelt."""

    def to_dict(self) -> dict[str, Any]:
        """The same content for JSON."""
        return asdict(self)


_SHOWN = ("site", "code", "concept", "declared_unit", "unit", "confidence", "num_values", "decision", "reason")


def read_units(dataset: Path) -> pl.DataFrame | None:
    """``metadata/units.parquet`` (`UNITS_SCHEMA`); None where nobody has looked at the units."""
    path = dataset / UNITS
    if not path.exists():
        return None
    return pl.read_parquet(path, glob=False).select(pl.col(name).cast(kind) for name, kind in UNITS_SCHEMA.items())


def describe_units(table: pl.DataFrame, dataset: Path) -> UnitsReport:
    """Counts of a table of units, and the pairs that are worth a look."""
    is_rest = (pl.col("reason") == OUTSIDE).fill_null(value=False)
    pairs = table.filter(~is_rest).unique(["site", "code"], keep="first", maintain_order=True)
    counts = dict(pairs.group_by("decision").len().iter_rows())
    of_kind: dict[str, Any] = {kind: int(counts.get(kind, 0)) for kind in DECISIONS}
    shown = table.filter((pl.col("decision") != DECLARED) & ~(is_rest & (pl.col("num_values") == 0)))
    return UnitsReport(
        dataset=str(dataset),
        num_pairs=len(pairs),
        **of_kind,
        values_refused=int(table.filter(pl.col("decision") == REFUSED)["num_values"].sum()),
        table=tuple(shown.select(_SHOWN).iter_rows(named=True)),
    )
