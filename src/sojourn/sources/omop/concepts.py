"""OMOP: the vocabulary, cut down to the concepts that the records use."""

from collections.abc import Iterable, Iterator

import polars as pl

from sojourn.sources.frames import TextFormat
from sojourn.sources.omop.clock import identifier
from sojourn.sources.recipes import label
from sojourn.sources.tables import RawTables

FIRST_LOCAL = 2_000_000_000
"""From this id on concepts are a hospital's own."""
_ATHENA = TextFormat(separator="\t", quote=None)
_TABLES = ("concept", "2b_concept")
_RELATIONS = ("concept_relationship", "2b_concept_relationship")
_SCHEMA = {"_id": pl.Int64, "_code": pl.String, "_name": pl.String}


def used_concepts(tables: RawTables, columns: Iterable[tuple[str, tuple[str, ...]]]) -> pl.Series:
    """Distinct concept ids (i64, sorted) in columns of tables, given as (table, columns) pairs."""
    found = pl.Series(dtype=pl.Int64)
    for table, names in columns:
        have = {column.lower() for column in tables.columns(table)}
        there = [name for name in names if name in have]
        if not there:
            continue
        for frame in tables.batches(table, there):
            ids = pl.concat([frame.select(identifier(name).alias("id"))["id"] for name in there])
            found = pl.concat([found, ids.drop_nulls()]).unique()
    return found.filter(found != 0).sort()


def read_concepts(tables: RawTables, used: pl.Series) -> pl.DataFrame:
    """The used concepts.

    Returns
    -------
    DataFrame with `_id` i64, `_code` (vocabulary and code, such as ``LOINC//2524-7``) and `_name`. A concept that no
    vocabulary table holds has the code ``OMOP//<id>`` and, if a local concept maps to it, the name of that.
    """
    wanted = used.to_frame("_id")
    code = pl.concat_str(label(pl.col("vocabulary_id")), label(pl.col("concept_code")), separator="//")
    columns = ("concept_id", "vocabulary_id", "concept_code", "concept_name")
    parts = [
        frame.select(_id=identifier("concept_id"), _code=code, _name=label(pl.col("concept_name"))).join(
            wanted, on="_id", how="semi"
        )
        for frame in _vocabulary(tables, _TABLES, columns)
    ]
    known = pl.concat([pl.DataFrame(schema=_SCHEMA), *parts]).drop_nulls("_id").unique("_id", keep="first")
    missing = wanted.join(known, on="_id", how="anti")
    if missing.is_empty():
        return known.sort("_id")
    names = _names_from_local(tables, known, missing)
    absent = missing.join(names, on="_id", how="left").select("_id", _code=pl.format("OMOP//{}", "_id"), _name="_name")
    return pl.concat([known, absent]).sort("_id")


def _names_from_local(tables: RawTables, known: pl.DataFrame, missing: pl.DataFrame) -> pl.DataFrame:
    """Names that local concepts give to the standard ones that they map to: `_id`, `_name`."""
    columns = ("concept_id_1", "concept_id_2", "relationship_id")
    local = known.select(_local="_id", _name="_name").filter(pl.col("_local") >= FIRST_LOCAL)
    pairs = [
        frame.filter(pl.col("relationship_id") == "Maps to")
        .select(_local=identifier("concept_id_1"), _id=identifier("concept_id_2"))
        .join(missing, on="_id", how="semi")
        for frame in _vocabulary(tables, _RELATIONS, columns)
    ]
    empty = pl.DataFrame(schema={"_local": pl.Int64, "_id": pl.Int64})
    named = pl.concat([empty, *pairs]).join(local, on="_local", how="inner").sort("_id", "_local")
    # Of a concept that many local ones map to, no single one has the name.
    only = named.group_by("_id").agg(pl.col("_name").unique())
    return only.filter(pl.col("_name").list.len() == 1).with_columns(pl.col("_name").list.first())


def _vocabulary(tables: RawTables, names: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """Frames of the vocabulary tables that are there; as Athena writes them, they are separated by tabs."""
    for name in names:
        if tables.find(name) is None:
            continue
        have = {column.lower() for column in tables.columns(name)}
        if set(columns) <= have:
            yield from tables.batches(name, columns)
        elif len(have) == 1:
            yield from RawTables(tables.raw, _ignore, _ATHENA).batches(name, columns)


def _ignore(warning: str) -> None:
    """A table that is read a second time has been warned of before."""
