"""A vocabulary as arrays, to be sent."""

import numpy as np
import polars as pl

from sojourn.errors import UpdateRefusedError
from sojourn.events.vocabulary import SCHEMA, ModelVocabulary
from sojourn.federated.columns import Form
from sojourn.federated.messages import Tensors

_TABLE = Form("vocabulary", SCHEMA, ("description", "unit", "concept", "parent"))
_FOLDED = Form("folded", {"code": pl.String(), "entry": pl.String()})
_OLD = "vocabulary"
"""Where an earlier version had a file of a format that is not safe to read."""


def vocabulary_arrays(vocabulary: ModelVocabulary) -> Tensors:
    """The table and the folded codes as named arrays."""
    folded = pl.DataFrame(sorted(vocabulary.folded.items()), schema=dict(_FOLDED.schema), orient="row")
    return _TABLE.pack(vocabulary.table) | _FOLDED.pack(folded)


def read_vocabulary(arrays: Tensors) -> ModelVocabulary:
    """What `vocabulary_arrays` packed, from among some arrays.

    Raises
    ------
    UpdateRefusedError
        If it is not there, or cannot be one (``malformed``).
    """
    if _OLD in arrays:
        msg = "training must be of this version of Sojourn; an earlier one began it. Start it again in another folder."
        raise UpdateRefusedError("malformed", msg)
    table, folded = _TABLE.read(arrays), _FOLDED.read(arrays)
    if not _is_whole(table) or not folded["entry"].is_in(table["code"].implode()).all():
        msg = "vocabulary must number its codes, each of which has finite values and a parent among them; it does not."
        raise UpdateRefusedError("malformed", msg)
    return ModelVocabulary(table, dict(folded.iter_rows()))


def _is_whole(table: pl.DataFrame) -> bool:
    """Whether the entries are numbered, refer to each other, and have finite scales."""
    places = table.select("unknown", pl.col("parent").fill_null(0))
    numbers = table.select("loc", "scale", "resolution").to_numpy()
    return (
        np.array_equal(table["index"].to_numpy(), np.arange(len(table)))
        and not table["code"].is_duplicated().any()
        and bool((places.to_numpy() < len(table)).all())
        and bool(np.isfinite(numbers).all())
        and bool((table["scale"] > 0).all())
    )
