"""Values between their own unit and the network's scale: as a source records them, bit for bit."""

import numpy as np
import pytest
import torch

from sojourn.events.sketch import recorded_tick
from sojourn.model import CodeTable
from sojourn.model.embedding import EventEmbedding, on_grid


@pytest.mark.parametrize("tick", [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0])
def test_values_are_those_that_a_source_records(tick: float) -> None:
    """The source's are the decimal fractions in float32; their resolution can be told."""
    number = np.arange(-3000, 3000)
    recorded = (number * tick if tick >= 1 else number / round(1 / tick)).astype(np.float32)
    found = on_grid(torch.from_numpy(number).float(), torch.tensor(tick)).numpy()
    np.testing.assert_array_equal(found, recorded)
    assert (recorded_tick(found) > 0).all()


def test_a_tick_that_is_no_fraction_is_multiplied() -> None:
    """Such as one that a change of unit left."""
    tick, number = torch.tensor([0.37, 0.0555, 88.42]), torch.tensor([730.0, 7.0, 3.0])
    torch.testing.assert_close(on_grid(number, tick), number * tick)


def test_a_value_comes_back_from_the_normalised_scale_as_it_was() -> None:
    one = torch.ones(1)
    table = CodeTable(7.4 * one, 0.1 * one, 0.01 * one, one.bool(), one, torch.zeros(1, 19))
    events, code = EventEmbedding(table, 8), torch.zeros(200, dtype=torch.int64)
    recorded = torch.from_numpy((np.arange(640, 840) / 100).astype(np.float32))
    assert torch.equal(events.denormalise(code, events.normalise(code, recorded)), recorded)
