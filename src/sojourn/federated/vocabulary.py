"""A vocabulary as an array of bytes, to be sent."""

import json

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.survey import table_bytes, table_of

_FOLDED = "folded"


def vocabulary_bytes(vocabulary: ModelVocabulary) -> npt.NDArray[np.uint8]:
    """The table and the folded codes as the bytes of one parquet file."""
    folded = json.dumps(vocabulary.folded, sort_keys=True)
    return table_bytes(vocabulary.table.with_columns(pl.lit(folded).alias(_FOLDED)))


def read_vocabulary(content: npt.NDArray[np.uint8]) -> ModelVocabulary:
    """What `vocabulary_bytes` packed."""
    table = table_of(content)
    return ModelVocabulary(table.drop(_FOLDED), json.loads(table[_FOLDED][0]))
