"""Splits: a hash of the id, whatever the others are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.events.splits import assign_splits

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50)


@given(IDS, st.integers(0, 2**31))
def test_split_of_a_subject_ignores_the_others(ids: list[int], seed: int) -> None:
    together = assign_splits(np.array(ids), seed=seed)
    alone = [assign_splits(np.array([one]), seed=seed)[0] for one in ids]
    assert together.tolist() == alone


def test_shares_are_as_asked_within_sampling_error() -> None:
    splits = assign_splits(np.arange(100_000), fractions=(0.7, 0.1, 0.2))
    shares = [(splits == name).mean() for name in ("train", "tuning", "held_out")]
    # Four standard errors of a share of 100,000 draws.
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=4 * 0.5 / 100_000**0.5)


def test_seeds_give_unrelated_partitions() -> None:
    ids = np.arange(50_000)
    both = (assign_splits(ids, seed=1) != "train") & (assign_splits(ids, seed=2) != "train")
    assert abs(both.mean() - 0.04) < 0.004


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.8, 0.3, -0.1), (0.5, 0.1, 0.1)])
def test_fractions_must_be_shares(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fractions must be"):
        assign_splits(np.array([1]), fractions=fractions)


def test_no_subject() -> None:
    assert assign_splits(np.zeros(0, np.int64)).tolist() == []
