"""Rows of unseen codes from their words."""

import numpy as np
import polars as pl
import pytest

from sojourn.adaptation.description import LEAST_LIKENESS, Floats, alike
from sojourn.training.code_words import word_features

WHAT = ["lactate", "sodium"]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    parts = ["heart rate", "arterial pressure", "lactate", "potassium", "sodium", "culture"]
    return [f"{kind} {part}" for kind in ("lab", "chart", "monitor") for part in parts]


def features(texts: list[str], *new: str) -> tuple[Floats, Floats]:
    """Of known texts, and of new ones."""
    table = pl.DataFrame({"code": [f"X//{text}" for text in (*texts, *new)]})
    table = table.with_columns(description=pl.lit(None, pl.String), unit=pl.lit(None, pl.String))
    both = word_features(table, [True] * len(texts) + [False] * len(new), 128).astype(np.float64)
    return both[: len(texts)], both[len(texts) :]


def test_a_row_is_that_of_the_code_that_is_called_the_same(texts: list[str]) -> None:
    known, new = features(texts, "ward lactate", "ward sodium")
    truth = np.random.default_rng(0).normal(size=(len(texts), 4))
    found = alike(known, new, np.full(len(texts), 10_000))
    kinds = [np.mean([truth[i] for i, text in enumerate(texts) if text.endswith(what)], axis=0) for what in WHAT]
    np.testing.assert_allclose(found.rows(truth, np.full((2, 4), 7.0)), kinds, atol=1.0)
    nearest = [texts[int(k)].split()[-1] for k in found.weight.argmax(1)]
    assert nearest == WHAT
    assert (found.likeness > LEAST_LIKENESS).all()


def test_weights_by_hand() -> None:
    """Likenesses 0.45 and 0.27, trust 1/2 and 1/3: exp(20 x 0.1) / 2, exp(-20 x 0.08) / 3, and 1 for the parent."""
    known, new = np.array([[0.9, 0.0], [0.54, 0.8]]), np.array([[0.5, 0.0]])
    found = alike(known, new, np.array([200, 100]))
    first, second = np.exp(2) / 2, np.exp(-1.6) / 3
    np.testing.assert_allclose(found.weight, [[first, second] / (1 + first + second)])
    np.testing.assert_allclose(found.alone, 1 / (1 + first + second))
    np.testing.assert_allclose(found.weight.sum(1) + found.alone, 1)
    np.testing.assert_allclose(found.likeness, 0.45)


def test_a_code_that_is_called_like_no_other_is_its_parent(texts: list[str]) -> None:
    known, new = features(texts, "qqqq zzzz")
    found = alike(known, new, np.full(len(texts), 10_000))
    np.testing.assert_allclose(found.rows(np.ones((len(texts), 3)), np.full((1, 3), 7.0)), 7.0, atol=1.5)
    assert found.likeness[0] < LEAST_LIKENESS


def test_without_known_codes_the_parent_is_left() -> None:
    found = alike(np.ones((0, 2)), np.ones((1, 2)), np.ones(0, np.int64))
    assert (found.rows(np.ones((0, 3)), np.full((1, 3), 5.0)) == 5).all()
