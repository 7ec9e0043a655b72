"""Rows of unseen codes from their words."""

import numpy as np
import polars as pl
import pytest

from sojourn.adaptation.description import text_features, transfer, words


def test_words_leave_out_numbers_that_only_identify() -> None:
    table = pl.DataFrame(
        {
            "code": ["LAB//50813//mmol/L", "INFUSION_START//H6-4044//mL", "CARE//Heart failure"],
            "description": ["Lactate", "Crystalloid bolus", None],
            "unit": ["mmol/L", None, None],
        }
    )
    assert words(table)[0] == "lab mmol/l lactate mmol/l"
    assert "4044" not in words(table)[1]
    assert words(table)[2] == "care heart failure"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    parts = ["heart rate", "arterial pressure", "lactate", "potassium", "sodium", "culture"]
    return [f"{kind} {part}" for kind in ("lab", "chart", "monitor") for part in parts]


def test_like_words_lie_close_together(texts: list[str]) -> None:
    known, new = text_features(texts, ["bedside lactate", "potassium in serum"])
    likeness = (new / np.linalg.norm(new, axis=1, keepdims=True)) @ (
        known / np.linalg.norm(known, axis=1, keepdims=True)
    ).T
    assert texts[int(likeness[0].argmax())].endswith("lactate")
    assert texts[int(likeness[1].argmax())].endswith("potassium")


def test_rows_that_words_explain_are_found_again_for_codes_left_out(texts: list[str]) -> None:
    rng = np.random.default_rng(0)
    known, new = text_features(texts, ["ward lactate", "ward sodium"])
    truth = rng.normal(size=(known.shape[1], 4))
    prior = np.full((2, 4), 7.0)
    count = np.full(len(known), 10_000)
    found = transfer(known, new, known @ truth, count, prior)
    assert found.gain > 0.4
    error = np.abs(found.rows - prior - new @ truth).mean()
    assert error < 0.5 * np.abs(new @ truth).mean()


def test_rows_that_words_do_not_explain_are_those_of_the_parent(texts: list[str]) -> None:
    rng = np.random.default_rng(1)
    known, new = text_features(texts, ["ward lactate"])
    prior = np.ones((1, 3))
    gains = []
    for _ in range(10):
        found = transfer(known, new, rng.normal(size=(len(known), 3)), np.full(len(known), 100), prior)
        gains.append(found.gain)
        if found.gain == 0:
            assert (found.rows == prior).all()
    assert max(gains) < 0.2
    assert 0 in gains


def test_too_few_known_codes_leave_the_parent() -> None:
    found = transfer(np.ones((2, 1)), np.ones((1, 1)), np.ones((2, 3)), np.ones(2, np.int64), np.zeros((1, 3)))
    assert found.gain == 0
    assert (found.rows == 0).all()
