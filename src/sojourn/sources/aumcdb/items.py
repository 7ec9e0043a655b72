"""AmsterdamUMCdb: numbers, choices from lists, and free text."""

import polars as pl

from sojourn.sources.aumcdb.known import Known, at, dutch_unit, events_of
from sojourn.sources.casts import to_integer, to_number
from sojourn.sources.recipes import Converted, Emit, Recipe, answer, code_for, label, measured

_ITEM = pl.col("itemid").cast(pl.String)
SCORES = {
    "6732": (-1, 5),
    "13077": (1, 0),
    "14470": (1, -4),
    "16628": (1, -4),
    "19635": (1, -4),
    "19638": (1, -8),
    "6734": (-1, 7),
    "13072": (1, 0),
    "14476": (1, -6),
    "16634": (1, -6),
    "19636": (1, -6),
    "19639": (1, -12),
    "6735": (-1, 6),
    "13066": (1, 0),
    "14482": (1, -5),
    "16640": (1, -5),
    "19637": (1, -9),
    "19640": (1, -15),
}
"""Lists of the Glasgow coma scale (eyes, motor, verbal) -> (a, b): the score is a x valueid + b.

As in the database's own scripts, https://github.com/AmsterdamUMC/AmsterdamUMCdb (amsterdamumcdb/sql/common/gcs.sql).
"""


def _numericitems(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row; the tag says that the number is a bound, or (base excess) below zero."""
    tag = pl.col("tag").cast(pl.String).str.strip_chars()
    number = to_number(pl.col("value"))
    signed = pl.when(tag == "-").then(-number.abs()).otherwise(number)
    bound = pl.when(tag.is_in(["<", ">"])).then(tag)
    code = code_for("NUMERIC", _ITEM, dutch_unit(pl.col("unit")))
    emits = [Emit(code, at("measuredat"), signed, pl.col("comment").cast(pl.String), bound)]
    return events_of(frame, known, emits, [("no_number", number.is_null())])


def _listitems(frame: pl.DataFrame, known: Known) -> Converted:
    """A choice; where the list is a part of the Glasgow coma scale, the number is the score."""
    factor = _ITEM.replace_strict({item: a for item, (a, _) in SCORES.items()}, default=None, return_dtype=pl.Float64)
    offset = _ITEM.replace_strict({item: b for item, (_, b) in SCORES.items()}, default=None, return_dtype=pl.Float64)
    score = to_integer(pl.col("valueid")) * factor + offset
    # Below 1 stands for an intubated patient, who cannot speak: that is no score of the patient.
    code = code_for("LIST", _ITEM, label(pl.col("value")))
    emits = [Emit(code, at("measuredat"), pl.when(score >= 1).then(score), pl.col("value").cast(pl.String))]
    return events_of(frame, known, emits)


def _freetextitems(frame: pl.DataFrame, known: Known) -> Converted:
    """Text; numbers in it are read, and short answers of the laboratory are part of the code."""
    frame = measured(frame, None, "value")
    is_result = pl.col("islabresult").cast(pl.String).is_in(["1", "true"])
    said = pl.when(is_result).then(answer(pl.col("_text"), pl.col("_number")))
    code = code_for("FREETEXT", _ITEM, said)
    emits = [Emit(code, at("measuredat"), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


RECIPES = (
    Recipe(
        "numericitems",
        _numericitems,
        ("admissionid", "itemid", "value", "measuredat"),
        ("unit", "tag", "comment"),
        "vital signs, laboratory, ventilator settings and fluid balance",
    ),
    Recipe(
        "listitems",
        _listitems,
        ("admissionid", "itemid", "valueid", "value", "measuredat"),
        lost="choices from lists, the Glasgow coma scale among them",
    ),
    Recipe(
        "freetextitems",
        _freetextitems,
        ("admissionid", "itemid", "value", "measuredat"),
        ("islabresult",),
        "free text and results that are no number",
    ),
)
