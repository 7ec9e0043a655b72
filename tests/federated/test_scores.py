"""Losses of sites add up, are compared over the same sites, and are refused where no network can have them."""

import math

import pytest
import torch

from sojourn.errors import UpdateRefusedError
from sojourn.federated.messages import Message
from sojourn.federated.scores import check_scores, improvement, pooled
from sojourn.model.queries import FirstEventHead, nats_range
from sojourn.training.config import PretrainConfig


def told(nats: float, *, events: float = 10.0, queries: float = 0.0) -> dict[str, float]:
    return {"events": events, "nats_gap": nats * events, "nats_code": 0.0, "nats_value": 0.0, "query_nats": queries}


def test_a_hard_site_that_was_away_does_not_make_weights_better() -> None:
    first = {"easy": told(2.0)}
    later = {"easy": told(1.9), "hard": told(9.0)}
    assert improvement(later, first, outcome_weight=1.0) == pytest.approx(0.1)
    assert improvement(first, later, outcome_weight=1.0) == pytest.approx(-0.1)
    assert improvement({"hard": told(1.0)}, first, outcome_weight=1.0) is None
    assert improvement({}, first, outcome_weight=1.0) is None


def test_questions_count_with_their_weight_and_sites_with_their_events() -> None:
    both = {"a": told(1.0, events=10, queries=2.0), "b": told(4.0, events=20, queries=-1.0)}
    assert pooled(both) == {"nats_gap": 3.0, "nats_code": 0.0, "nats_value": 0.0, "query_nats": 0.0}
    asked = {"a": told(1.0, queries=3.0)}
    assert improvement({"a": told(1.0, queries=1.0)}, asked, outcome_weight=0.5) == pytest.approx(1.0)


@pytest.mark.parametrize("queries", [-1e6, -0.1, 1e9])
def test_a_loss_of_questions_that_no_network_has_is_refused(queries: float) -> None:
    least, most = nats_range([1.0, 720.0])
    with pytest.raises(UpdateRefusedError) as error:
        check_scores(Message("evaluate", 0, {}, told(1.0, queries=queries)), (2 * least, 2 * most))
    assert error.value.reason == "impossible"
    check_scores(Message("evaluate", 0, {}, told(1.0, queries=0.1)), (2 * least, 2 * most))


def test_the_range_is_that_of_the_head() -> None:
    """Surest: at all where the hazard is greatest; most wrong: never there, or in a moment where it is least."""
    config = PretrainConfig().network()
    head = FirstEventHead(config, torch.zeros(1, len(config.hazard_edges_hours) + 1))
    least, most = nats_range(config.hazard_edges_hours)
    greatest, smallest = (torch.full((head.num_bins,), limit) for limit in (6.0, -25.0))
    asked = ((greatest, 0.5, True), (greatest, math.inf, False), (smallest, 1e-6, True))
    found = [-float(head.log_likelihood(h, torch.tensor(t), torch.tensor(e), torch.tensor(t))) for h, t, e in asked]
    assert least == pytest.approx(found[0], abs=1e-3)
    assert all(least <= one <= most for one in found)
    assert most == pytest.approx(found[1], rel=1e-3)
