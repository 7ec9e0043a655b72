"""The loss of a risk, the share that chooses, and the level: worked numbers."""

import math

import numpy as np
import pytest
import torch

from inference.conftest import Toy
from sojourn.adaptation.labelled import (
    Ask,
    Labelled,
    all_hazards,
    group_subjects,
    label_loss,
    level_shift,
    log_loss,
    tuning_moments,
)
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, query_risk


def test_the_loss_is_that_of_a_coin_with_the_risk() -> None:
    """Risks 1/2 and 3/4 for an event and none: -(log 1/2 + log 1/4) / 2."""
    hazard = torch.tensor([[math.log(2)], [math.log(4)]])
    found = label_loss(hazard, torch.tensor([True, False]), torch.ones(2, 1))
    assert float(found) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert log_loss(hazard.double().numpy(), np.array([True, False])) == pytest.approx(float(found))


def test_a_subject_without_weight_in_a_head_teaches_it_nothing() -> None:
    hazard = torch.full((1, 2), 0.3, requires_grad=True)
    label_loss(hazard, torch.tensor([True]), torch.tensor([[0.0, 2.0]])).backward()  # type: ignore[no-untyped-call]
    assert hazard.grad is not None
    assert hazard.grad[0, 0] == 0
    assert hazard.grad[0, 1] < 0  # more hazard, less loss


def test_a_tiny_hazard_of_an_event_has_a_finite_loss() -> None:
    assert torch.isfinite(label_loss(torch.zeros(1, 1), torch.tensor([True]), torch.ones(1, 1)))


def labelled(ids: np.ndarray, is_event: np.ndarray) -> Labelled:
    return Labelled(Moments(ids, np.zeros(len(ids), np.int64)), is_event)


def test_the_choosing_share_takes_whole_subjects_of_both_kinds() -> None:
    ids = np.repeat(np.arange(100), 3)
    is_event = (ids % 5 == 0) & (np.arange(300) % 3 == 2)  # 20 subjects with an event at their last moment
    chosen = tuning_moments(labelled(ids, is_event), ids, 0.2, seed=0)
    by_subject = chosen.reshape(100, 3)
    assert (by_subject.all(1) == by_subject.any(1)).all()
    assert by_subject.all(1)[::5].sum() == 4
    assert by_subject.all(1).sum() == 20
    assert (tuning_moments(labelled(ids, is_event), ids, 0.2, seed=1) != chosen).any()


def test_the_only_event_stays_with_the_teachers() -> None:
    ids = np.arange(10)
    chosen = tuning_moments(labelled(ids, ids == 3), ids, 0.2, seed=0)
    assert not chosen[3]
    assert chosen.sum() == 2


def test_the_level_goes_to_the_labels_as_far_as_the_prior_lets_it() -> None:
    """400 labels, 40 events, all with a risk of 0.2: a wide prior ends at 0.1, a narrow one hardly moves."""
    hazard = np.full((400, 1), -math.log1p(-0.2))
    is_event = np.arange(400) < 40
    wide = level_shift(hazard, is_event, prior=10.0)
    assert -np.expm1(-hazard[0, 0] * np.exp(wide)) == pytest.approx(0.1, abs=1e-3)
    narrow = level_shift(hazard, is_event, prior=0.01)
    assert wide < narrow < 0
    assert abs(narrow) < 0.01


def test_training_asks_what_prediction_answers(toy: Toy) -> None:
    question = Question([toy.code("OUTCOME//death")], 12.0)
    how = Ask(toy.reader, question, toy.run.config.context, 512, with_past=True)
    some = Labelled(Moments(toy.at_four.row[:40], toy.at_four.seconds[:40]), np.zeros(40, bool))
    risk = -np.expm1(-all_hazards(toy.network, some, how)).mean(1)
    answered = query_risk(toy.network, toy.reader, some.at, question, context=toy.run.config.context)
    np.testing.assert_allclose(risk, answered.probability, atol=2e-3)


def test_steps_hold_every_subject_once(toy: Toy) -> None:
    how = Ask(toy.reader, Question([1], 12.0), toy.run.config.context, 200, with_past=True)
    order = np.random.default_rng(0).permutation(toy.at_four.row)
    groups = group_subjects(how, order)
    assert len(groups) > 3
    assert (np.concatenate(groups) == order).all()
