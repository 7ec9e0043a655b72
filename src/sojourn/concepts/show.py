"""What the registry holds, as tables for people."""

from difflib import get_close_matches
from typing import Any

import polars as pl

from sojourn.concepts.registry import base_name
from sojourn.concepts.tables import code_concepts, concept_table
from sojourn.errors import ConfigError

__all__ = ["list_concepts", "show_concept"]


def list_concepts(source: str | None = None) -> pl.DataFrame:
    """All concepts, with how many codes of each source stand for them.

    Parameters
    ----------
    source : only concepts that codes of this source stand for.

    Returns
    -------
    DataFrame with `concept`, `unit`, `kind`, `loinc`, `yaib` and `codes`.

    Raises
    ------
    ConfigError
        If the tables know no such source.

    Examples
    --------
    >>> list_concepts("mimic-iv").filter(pl.col("concept") == "lactate")["codes"].item()
    3
    """
    rules = _rules(source).select(pl.col("concept").map_elements(base_name, return_dtype=pl.String))
    num = rules.group_by("concept").agg(codes=pl.len())
    table = concept_table().select("name", "unit", "kind", "loinc", "yaib").rename({"name": "concept"})
    joined = table.join(num, on="concept", how="left", maintain_order="left").with_columns(pl.col("codes").fill_null(0))
    return joined.filter(pl.lit(source is None) | (pl.col("codes") > 0))


def show_concept(name: str, source: str | None = None) -> dict[str, Any]:
    """One concept, and the codes that stand for it or for something below it.

    Parameters
    ----------
    name : name of the concept, or its abbreviation in YAIB.
    source : only codes of this source.

    Returns
    -------
    dict
        The columns of the concept's row, and `codes`: rows of the code tables.

    Raises
    ------
    ConfigError
        If there is no such concept or source.
    """
    table = concept_table()
    found = table.filter((pl.col("name") == name) | (pl.col("yaib") == name).fill_null(value=False))
    if found.is_empty():
        near = get_close_matches(name, table["name"].to_list(), n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`sojourn concepts` lists them."
        msg = f"NAME must be a concept; got {name!r}. {hint}"
        raise ConfigError(msg)
    about = found.row(0, named=True)
    stands = (pl.col("concept") == about["name"]) | pl.col("concept").str.starts_with(about["name"] + "//")
    return about | {"codes": _rules(source).filter(stands).to_dicts()}


def _rules(source: str | None) -> pl.DataFrame:
    rules = code_concepts()
    if source is None:
        return rules
    known = rules["source"].unique().sort().to_list()
    if source not in known:
        msg = f"source must be one of {', '.join(known)}; got {source!r}. Choose one of them."
        raise ConfigError(msg)
    return rules.filter(pl.col("source") == source)
