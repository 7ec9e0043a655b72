"""Codings, references and quantities of FHIR as parts of codes and events."""

from functools import cache
from importlib.resources import files
from typing import cast

import numpy as np
import polars as pl

from sojourn.sources.recipes import label, unit_of

_PREFERRED = r"^(?:LOINC|SNOMED|RxNorm)//"


@cache
def _systems() -> dict[str, str]:
    """URL of each well-known code system -> its name in codes."""
    table = files("sojourn.sources").joinpath("data/fhir_systems.csv").read_bytes()
    return dict(pl.read_csv(table).select("url", "name").iter_rows())


def one_row_each(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """One row for each element of a column of lists; rows whose list is empty or null go.

    Examples
    --------
    >>> one_row_each(pl.DataFrame({"a": [1, 2, 3], "b": [["x", "y"], [], None]}), "b").rows()
    [(1, 'x'), (1, 'y')]
    """
    # `DataFrame.explode` asks for a different argument in each version of polars that this package supports.
    lists = frame[column].rechunk()
    places = np.repeat(np.arange(frame.height), lists.list.len().fill_null(0).to_numpy())
    flat = cast(pl.Series, pl.from_arrow(lists.to_arrow().flatten()))
    inner = cast(pl.List, lists.dtype).inner
    return frame[places].with_columns(flat.cast(inner).alias(column))


def system_name(url: pl.Expr) -> pl.Expr:
    """Short name of a code system: that of a well-known one, the release of an ICD, else the end of its URL.

    Examples
    --------
    >>> urls = ["http://loinc.org", "http://here.org/CodeSystem/our-diagnosis-icd9", "urn:here:lab-items", None]
    >>> pl.select(system_name(pl.Series(urls))).to_series().to_list()
    ['LOINC', 'ICD9CM', 'lab-items', None]
    """
    plain = url.cast(pl.String).str.strip_chars(" /")
    low = plain.str.to_lowercase()
    release = low.str.extract(r"icd-?(9|10)(?:\D|$)")
    part = pl.when(low.str.contains("proc|pcs")).then(pl.lit("PCS")).otherwise(pl.lit("CM"))
    icd = pl.when(release.is_not_null()).then(pl.concat_str(pl.lit("ICD"), release, part))
    known = plain.replace_strict(_systems(), default=None, return_dtype=pl.String)
    return pl.coalesce(known, icd, label(plain.str.extract(r"([^/:#|]+)$")))


def coded(concept: pl.Expr) -> pl.Expr:
    """``<system>//<code>`` of a CodeableConcept: LOINC, SNOMED, RxNorm before others, else the text."""
    each = pl.element().struct
    code = label(each.field("code"))
    name = pl.concat_str(system_name(each.field("system")), code, separator="//", ignore_nulls=True)
    names = concept.struct.field("coding").list.eval(pl.when(code.is_not_null()).then(name)).list.drop_nulls()
    shared = names.list.eval(pl.element().filter(pl.element().str.contains(_PREFERRED))).list.first()
    return pl.coalesce(shared, names.list.first(), label(concept.struct.field("text")))


def displayed(concept: pl.Expr) -> pl.Expr:
    """What a CodeableConcept says in words: its text, else the first display of its codings."""
    shown = concept.struct.field("coding").list.eval(pl.element().struct.field("display")).list.drop_nulls()
    return pl.coalesce(label(shown.list.first()), label(concept.struct.field("text")))


def said(concept: pl.Expr) -> pl.Expr:
    """A CodeableConcept as an answer: its first code without the system, else its words."""
    codes = concept.struct.field("coding").list.eval(pl.element().struct.field("code")).list.drop_nulls()
    return pl.coalesce(label(codes.list.first()), displayed(concept))


def reference_id(reference: pl.Expr) -> pl.Expr:
    """Id that a reference ends with: ``Patient/1``, ``https://host/Patient/1/_history/2`` and ``urn:uuid:1`` give 1."""
    plain = reference.struct.field("reference").str.replace(r"/_history/[^/]*$", "")
    return plain.str.extract(r"([^/:#]+)$")


def unit_in_quantity(quantity: pl.Expr) -> pl.Expr:
    """Unit of a Quantity: its UCUM code, else what is written."""
    return pl.coalesce(unit_of(quantity.struct.field("code")), unit_of(quantity.struct.field("unit")))


def bound_in_quantity(quantity: pl.Expr) -> pl.Expr:
    """``<`` or ``>`` where the Quantity is only a bound."""
    return quantity.struct.field("comparator").str.slice(0, 1).replace_strict(
        {"<": "<", ">": ">"}, default=None, return_dtype=pl.String
    )  # fmt: skip
