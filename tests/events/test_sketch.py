"""Value statistics: close to the exact ones, and the same however the values were cut."""

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sojourn.events.sketch import QUANTILES, convert, merge_sketches, recorded_tick, sketch_values, summarise

FINITE = st.floats(-1e6, 1e6, width=32)
VALUES = arrays(np.float32, st.integers(1, 200), elements=FINITE)


def one_group(values: npt.NDArray[np.float32]) -> dict[str, float]:
    """Summary of values of a single code."""
    table = summarise(sketch_values(np.zeros(len(values), np.uint32), values))
    return table.row(0, named=True)


@settings(deadline=None)
@given(VALUES)
def test_quantiles_are_within_a_tenth_of_a_percent(values: npt.NDArray[np.float32]) -> None:
    summary = one_group(values)
    for name, q in QUANTILES.items():
        exact = float(np.quantile(values, q, method="inverted_cdf"))
        assert abs(summary[name] - exact) <= abs(exact) * 2.0**-10 + 1e-38
    assert summary["min"] == values.min()
    assert summary["max"] == values.max()
    np.testing.assert_allclose(summary["mean"], values.mean(dtype=np.float64), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(summary["std"], values.std(dtype=np.float64), rtol=1e-6, atol=1e-6)


def test_integers_are_exact() -> None:
    values = np.arange(0, 2001).astype(np.float32)
    summary = one_group(values)
    assert [summary[name] for name in QUANTILES] == [100, 500, 1000, 1500, 1900]


@settings(deadline=None, max_examples=50)
@given(VALUES, st.integers(0, 200), st.integers(0, 3))
def test_merging_pieces_equals_the_whole(values: npt.NDArray[np.float32], cut: int, num_groups: int) -> None:
    group = np.arange(len(values), dtype=np.uint32) % (num_groups + 1)
    whole = sketch_values(group, values)
    merged = merge_sketches([sketch_values(group[:cut], values[:cut]), sketch_values(group[cut:], values[cut:])])
    assert merged.bins.equals(whole.bins)
    assert merged.ticks.equals(whole.ticks)
    for name in ("mean", "m2"):
        expected = whole.moments[name].to_numpy()
        np.testing.assert_allclose(merged.moments[name].to_numpy(), expected, rtol=1e-6, atol=1e-6)


def test_no_values() -> None:
    empty = sketch_values(np.zeros(0, np.uint32), np.zeros(0, np.float32))
    assert len(summarise(merge_sketches([empty, empty]))) == 0


@pytest.mark.parametrize(
    ("values", "tick"),
    [
        ([7.35, 7.4, 7.38], 0.01),
        ([120, 121, 80], 1.0),
        ([500, 1500, 2000], 100.0),
        ([36.6, 37.0, 39.2], 0.1),
        ([1 / 3, 2 / 3, np.pi], 0.0),
        ([0.0, 0.0, 5.0], 1.0),
        ([-2.5, 2.5], 0.1),
    ],
)
def test_resolution(values: list[float], tick: float) -> None:
    assert one_group(np.array(values, np.float32))["resolution"] == tick


def test_only_zeros_tell_no_resolution() -> None:
    assert one_group(np.zeros(5, np.float32))["resolution"] is None


def test_resolution_tolerates_one_percent() -> None:
    values = np.round(np.random.default_rng(0).normal(100, 9, 1000)).astype(np.float32)
    values[:5] += np.float32(0.25)
    assert one_group(values)["resolution"] == 1.0
    values[:50] += np.float32(0.25)
    assert one_group(values)["resolution"] == 0.01


@given(st.integers(-10_000_000, 10_000_000), st.sampled_from([1.0, 0.1, 0.01, 0.001]))
def test_a_recorded_value_is_a_multiple_of_its_tick(count: int, tick: float) -> None:
    assert recorded_tick(np.array([count * tick], np.float32))[0] >= tick


def test_convert_scales_statistics_and_ticks() -> None:
    grams = np.array([100, 110, 120, 130, 140], np.float32)
    kilograms = np.array([0.09, 0.15], np.float32)
    sketch = sketch_values(np.array([0] * 5 + [1] * 2, np.uint32), np.concatenate([grams, kilograms]))
    moved = convert(sketch, np.array([0, 0], np.uint32), np.array([0.001, 1.0]), np.zeros(2))
    summary = summarise(moved).row(0, named=True)
    every = np.concatenate([grams / 1000, kilograms])
    assert summary["q50"] == pytest.approx(0.12)
    assert (summary["min"], summary["max"]) == pytest.approx((0.09, 0.15))
    assert (summary["mean"], summary["std"]) == pytest.approx((every.mean(), every.std()), rel=1e-5)
    assert summary["resolution"] == pytest.approx(0.01)


def test_convert_with_a_negative_scale_keeps_order() -> None:
    sketch = sketch_values(np.zeros(101, np.uint32), np.arange(101, dtype=np.float32))
    summary = summarise(convert(sketch, np.zeros(1, np.uint32), np.array([-1.0]), np.array([100.0]))).row(0, named=True)
    assert [summary[name] for name in QUANTILES] == [5, 25, 50, 75, 95]
    assert (summary["min"], summary["max"]) == (0, 100)


def test_order_of_values_changes_nothing() -> None:
    generator = np.random.default_rng(3)
    values, group = generator.normal(size=500).astype(np.float32), generator.integers(0, 5, 500).astype(np.uint32)
    order = generator.permutation(500)
    first, second = sketch_values(group, values), sketch_values(group[order], values[order])
    assert all(a.equals(b) for a, b in zip(first, second, strict=True))


def test_groups_beyond_16_bits() -> None:
    group = np.array([70_000, 3, 70_000], np.uint32)
    table = summarise(sketch_values(group, np.array([1, 2, 3], np.float32)))
    assert table["group"].to_list() == [3, 70_000]
    assert table["max"].to_list() == [2, 3]
    assert table.schema["group"] == pl.UInt32
