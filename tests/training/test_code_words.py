"""Words of codes, and numbers that stand for them."""

import numpy as np
import polars as pl
import pytest

from sojourn.training.code_words import word_features, words


def table(*rows: tuple[str, str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict.fromkeys(("code", "description", "unit"), pl.String), orient="row")


KNOWN = table(
    ("CONCEPT//bun", "urea nitrogen", "mg/dL"),
    ("CONCEPT//heart_rate", "heart rate", "bpm"),
    ("CONCEPT//lactate", "lactate", "mmol/L"),
    ("CONCEPT//sodium", "sodium", "mmol/L"),
    ("CONCEPT//unknown", None, None),
)
NEW = table(
    ("LAB//H6-2043//mg/dL", "Lactate, arterial", "mg/dL"),
    ("LAB//H6-2047//mmol/L", "Sodium level", "mmol/L"),
    ("VITAL//H6-1043//1/min", "rate of the heart", "1/min"),
    ("LAB//H6-2045//mmol/L", "BUN", "mmol/L"),
)


def test_words_are_a_codes_own_those_of_its_parents_and_its_unit() -> None:
    rows = table(
        ("LAB//50813//mmol/L", "Lactate", "mmol/L"),
        ("INFUSION_START//H6-4044//mL", "Crystalloid bolus", None),
        ("CARE//Heart failure", None, None),
        ("CONCEPT//rrt//unknown", None, None),
        ("MEDS_DEATH", None, None),
        ("DIAGNOSIS//I50//I50.1", "Left ventricular failure", None),
        ("DIAGNOSIS//I50", "Heart failure", None),
        ("//unknown", None, None),
    )
    assert words(rows) == [
        ("lactate", "lab", "mmol/l"),  # 50813 only identifies, and the unit has a place of its own
        ("ml crystalloid bolus", "infusion start", ""),
        ("heart failure", "care", ""),
        ("rrt", "concept", ""),
        ("meds death", "meds death", ""),
        ("left ventricular failure", "diagnosis heart failure", ""),
        ("heart failure", "diagnosis", ""),
        ("", "", ""),
    ]


def test_a_code_is_closest_to_the_one_with_like_words_whatever_its_level_and_unit() -> None:
    whole = pl.concat([KNOWN, NEW])
    x = word_features(whole, [True] * 5 + [False] * 4, 512)
    np.testing.assert_allclose(np.linalg.norm(x[:5], axis=1), 1, atol=0.15)  # one but for the projection
    likeness = x[5:] @ x[:5].T
    nearest = [KNOWN["code"][int(k)] for k in likeness.argmax(1)]
    assert nearest == ["CONCEPT//lactate", "CONCEPT//sodium", "CONCEPT//heart_rate", "CONCEPT//bun"]


def test_products_are_those_of_weighted_ngrams() -> None:
    """Two taught codes of one two-letter word each share nothing; the same word under two parents shares its part."""
    rows = table(("A//xy", None, None), ("A//zw", None, None), ("B//xy", None, None))
    x = word_features(rows, [True, True, True], 1024).astype(np.float64)
    # Parts of length 1 and 1/2; own words are equal, parents differ: 1 / (1 + 1/4).
    assert x[0] @ x[2] == pytest.approx(1 / 1.25, abs=0.15)
    # Only the parent is shared: (1/4) / (1 + 1/4).
    assert x[0] @ x[1] == pytest.approx(0.25 / 1.25, abs=0.15)
    assert abs(x[1] @ x[2]) < 0.15


def test_codes_that_are_not_taught_change_no_others() -> None:
    alone = word_features(KNOWN, [True] * 5, 64)
    beside = word_features(pl.concat([NEW, KNOWN]), [False] * 4 + [True] * 5, 64)
    np.testing.assert_array_equal(alone, beside[4:])
    one_by_one = word_features(pl.concat([NEW[:1], KNOWN]), [False] + [True] * 5, 64)
    np.testing.assert_array_equal(one_by_one[0], beside[0])


def test_strange_words_are_nothing_and_half_strange_ones_are_short() -> None:
    rows = pl.concat([KNOWN, table(("Ω//жжж", "ßßßß", None), ("//unknown", None, None), ("Ω//lactate", "ßßß", None))])
    x = word_features(rows, [True] * 5 + [False] * 3, 512)
    assert (x[5:7] == 0).all()
    assert 0.2 < np.linalg.norm(x[7]) < 0.9
    assert (x[:5] @ x[7]).argmax() == 2
    assert x.dtype == np.float32
