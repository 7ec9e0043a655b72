"""Random streams: uniform, unrelated, and the same however they are drawn."""

import numpy as np
import torch
from scipy import stats

from sojourn.inference.streams import Streams


def streams(count: int = 4, seed: int = 0) -> Streams:
    return Streams(seed, np.repeat(np.arange(2), count // 2), np.full(count, 3600), np.arange(count))


def test_numbers_are_uniform_and_unrelated() -> None:
    drawn = streams(400).draw(torch.arange(400), 50).numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    of_streams, of_steps = np.corrcoef(drawn[:50]), np.corrcoef(drawn.T)
    for correlation in (of_streams, of_steps):
        assert np.abs(correlation - np.eye(50)).max() < 0.75
    assert abs(of_steps[np.triu_indices(50, 1)].mean()) < 0.01


def test_a_stream_does_not_know_of_the_others() -> None:
    whole = streams().draw(torch.arange(4), 6)
    other = streams()
    torch.testing.assert_close(other.draw(torch.tensor([2, 0]), 2), whole[[2, 0], :2], atol=0, rtol=0)
    torch.testing.assert_close(other.draw(torch.tensor([2]), 3), whole[[2], 2:5], atol=0, rtol=0)
    other.keep(torch.tensor([3, 2]))
    torch.testing.assert_close(other.draw(torch.arange(2), 1), whole[[3, 2], [0, 5]][:, None], atol=0, rtol=0)


def test_every_part_of_the_name_of_a_stream_counts() -> None:
    one = np.ones(1, np.int64)
    names = [
        (0, one, one, one),
        (1, one, one, one),
        (0, 2 * one, one, one),
        (0, one, 2 * one, one),
        (0, one, one, -one),
    ]
    first = [float(Streams(*name).draw(torch.arange(1), 1)) for name in names]
    assert len(set(first)) == len(names)
    assert first[0] == float(Streams(*names[0]).draw(torch.arange(1), 1))
