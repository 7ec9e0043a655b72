"""What the words of a code say, as numbers that nothing has to be stored for: a code never seen gets its own.

A code has words of three kinds: its own (its description, and its levels below the first), those of its parents (its
first level, and descriptions of the levels above it), and its unit. Each kind becomes character n-grams, counted by
hashing, weighted by how few of the taught codes share them (TF-IDF; Sparck Jones 1972), and scaled to length one. Their
weighted sum is scaled to length one again; then what no taught code has is dropped, so that a code of strange words is
short, and like none. The rest is projected to `size` numbers by a sparse random matrix with a fixed seed, which keeps
products of two codes in expectation (Li, Hastie and Church 2006).
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events.codes import SEPARATOR, UNKNOWN, ancestors

OWN_WEIGHT, PARENT_WEIGHT, UNIT_WEIGHT = 1.0, 0.5, 0.25
"""A name says more than the kind of thing it names; a unit is shared by many, and other hospitals use others."""
_WEIGHTS = (OWN_WEIGHT, PARENT_WEIGHT, UNIT_WEIGHT)
_NUM_HASHES, _DENSITY = 2**16, 1 / 32
"""With 512 features each n-gram goes to 16 of them on average: none is lost, and a short name has a vector too."""
_IS_NUMBER = re.compile(r"[A-Z]{0,2}[\d.\-]+")
Floats = npt.NDArray[np.float32]


def words(table: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Words of each code: its own, those of its parents, and its unit, in lower case.

    Numbers that only identify are left out, and so is `unknown`, which names nothing.

    Parameters
    ----------
    table : columns code, description and unit (null: none); parents are described by rows of their own.

    Examples
    --------
    >>> words(pl.DataFrame({"code": ["LAB//50813//mmol/L"], "description": ["Lactate"], "unit": ["mmol/L"]}))
    [('lactate', 'lab', 'mmol/l')]
    """
    described = dict(table.select("code", "description").drop_nulls().iter_rows())
    texts = []
    for code, description, unit in table.select("code", "description", "unit").iter_rows():
        first, *below = code.removesuffix(UNKNOWN).split(SEPARATOR)
        named = [level for level in below if level != unit and not _IS_NUMBER.fullmatch(level)]
        own = [*named, description] if below or description else [first]
        above = [first, *(described.get(parent) for parent in ancestors(code))]
        texts.append((_text(own), _text(above), _text([unit])))
    return texts


def word_features(table: pl.DataFrame, is_taught: Sequence[bool] | npt.NDArray[np.bool_], size: int) -> Floats:
    """Features of the words of codes, shape (V, size) float32, about 1 long where training knows all of a code's words.

    The product of two codes says how alike their words are: about 1 for the same words, about 0 for strange ones.

    Parameters
    ----------
    table : V codes; columns code, description and unit.
    is_taught : (V,), codes that training knows. What weighs how much depends on them alone, so the features of a code
        stay what they are when codes are added that are not taught.
    size : features of a code.
    """
    # scikit-learn takes longer to import than all the rest, and most runs do without.
    from sklearn.preprocessing import normalize
    from sklearn.random_projection import SparseRandomProjection

    texts, taught = words(table), np.flatnonzero(np.asarray(is_taught))
    counts = [_count([text[kind] for text in texts]) for kind in range(len(_WEIGHTS))]
    num_codes = sum((count[taught] for count in counts[1:]), counts[0][taught]).astype(bool).sum(0)
    num_codes = np.asarray(num_codes).ravel()
    weight = np.log((1 + len(taught)) / (1 + num_codes)) + 1
    parts = [w * normalize(count.multiply(weight)) for w, count in zip(_WEIGHTS, counts, strict=True)]
    whole = normalize(sum(parts[1:], parts[0])).multiply(num_codes > 0).tocsr()
    project = SparseRandomProjection(size, density=_DENSITY, random_state=0, dense_output=True)
    return np.asarray(project.fit_transform(whole), dtype=np.float32)


def _count(texts: list[str]) -> Any:
    """Damped counts of hashed character n-grams, sparse (V, _NUM_HASHES); zero rows for empty texts."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), n_features=_NUM_HASHES, norm=None, alternate_sign=False
    )
    return hashing.transform(texts).log1p()


def _text(parts: Sequence[str | None]) -> str:
    return " ".join(filter(None, parts)).replace("_", " ").lower()
