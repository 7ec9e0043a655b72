"""What the words of a code tell: vectors of codes that were never trained, from the codes that were.

A code's words are its levels, its description and its unit; x(c) are their character n-grams, weighted by TF-IDF and
reduced to `NUM_FEATURES` numbers (latent semantic analysis; Deerwester et al. 1990). A trained row r (an embedding, a
gate, a bias) is taken as

    r(c) = r(u_c) + W x(c) + noise,    u_c = the `//unknown` of the nearest known level above c

and W is fitted by ridge regression. Its penalty has the least leave-one-out error; where even that is worse than the
parent alone, W is zero and an unseen code is its parent's `//unknown`, as without descriptions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline

NUM_FEATURES = 128
_PENALTIES = np.logspace(-2, 3, 11)
_HALF_TRUSTED = 200
"""Events of a code at which its trained row counts half as much as one that was trained on very many."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Rows of unseen codes."""

    rows: Floats
    """(N, D)"""
    gain: float
    """Share of the variance around the parent that descriptions explain for codes left out; 0 where they are not used.
    """


def words(table: pl.DataFrame) -> list[str]:
    """Text of each code: the words of its levels, its description and its unit; numbers that only identify are left.

    Examples
    --------
    >>> words(pl.DataFrame({"code": ["LAB//50813//mmol/L"], "description": ["Lactate"], "unit": ["mmol/L"]}))
    ['lab mmol/l lactate mmol/l']
    """
    texts = []
    for code, description, unit in table.select("code", "description", "unit").iter_rows():
        levels = [level for level in code.split("//") if not re.fullmatch(r"[A-Z]{0,2}[\d.\-]+", level)]
        texts.append(" ".join(filter(None, (*levels, description, unit))).replace("_", " ").lower())
    return texts


def text_features(known: Sequence[str], *others: Sequence[str]) -> list[Floats]:
    """Features of texts, (N, K) each with K <= NUM_FEATURES; what matters in a text is learnt from the known ones."""
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    size = min(NUM_FEATURES, len(set(known)) - 1)
    pipeline: Pipeline = (
        make_pipeline(vectors, TruncatedSVD(size, random_state=0)) if size > 1 else Pipeline([("tfidf", vectors)])
    )
    features = [pipeline.fit_transform(known), *(pipeline.transform(texts) for texts in others)]
    return [np.asarray(f.todense() if hasattr(f, "todense") else f, dtype=np.float64) for f in features]


def transfer(x_known: Floats, x_new: Floats, change: Floats, count: npt.NDArray[np.int64], prior: Floats) -> Transfer:
    """Rows of unseen codes from those of trained ones.

    Parameters
    ----------
    x_known, x_new : (K, F) and (N, F), features of the trained and of the unseen codes.
    change : (K, D), trained rows minus those of the `//unknown` above each.
    count : (K,), training events of each code, which say how far its row is to be trusted.
    prior : (N, D), rows of the `//unknown` above each unseen code.
    """
    if len(x_known) < 3 or not len(x_new):
        return Transfer(prior.copy(), 0.0)
    trust = count / (count + _HALF_TRUSTED)
    ridge = RidgeCV(alphas=_PENALTIES, fit_intercept=False, store_cv_results=True)
    ridge.fit(x_known, change, sample_weight=trust)
    index = int(np.argmin(np.abs(_PENALTIES - ridge.alpha_)))
    error = ridge.cv_results_[..., index].reshape(len(change), -1).sum()
    gain = 1.0 - error / float((trust[:, None] * change**2).sum())
    if gain <= 0:
        return Transfer(prior.copy(), 0.0)
    return Transfer(prior + x_new @ np.atleast_2d(ridge.coef_).T, gain)
