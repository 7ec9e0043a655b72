"""Rules: they see in single events what the definitions see in records, and take out exactly their chance."""

import numpy as np
import polars as pl
import pytest
import torch

from inference.conftest import Toy
from sojourn.errors import TaskError
from sojourn.inference.rules import Rule, block_of, forbid, rule_of
from sojourn.model import CodeTable
from sojourn.model.embedding import EventEmbedding, on_grid
from sojourn.tasks.outcomes import EventOutcome, ValueOutcome, derive_outcomes, outcomes

NAMES = [
    "CONCEPT//lactate", "CONCEPT//map", "CONCEPT//potassium", "CONCEPT//glucose", "CONCEPT//spo2",
    "CONCEPT//temperature", "CONCEPT//platelets", "HOSPITAL_DISCHARGE//DIED", "HOSPITAL_DISCHARGE//DIED//HOSPICE",
    "HOSPITAL_DISCHARGE//ALIVE", "MEDS_DEATH", "ICU_DISCHARGE//DIED", "CONCEPT//map//unknown",
]  # fmt: skip
TICKS = [0.1, 1.0, 0.1, 1.0, 1.0, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.37]
SIMPLE = [o for o in outcomes().values() if isinstance(o, EventOutcome | ValueOutcome)]


def embedding() -> EventEmbedding:
    count = len(NAMES)
    loc, ones = torch.full((count,), 50.0), torch.ones(count)
    table = CodeTable(loc, 10 * ones, torch.tensor(TICKS), ones.bool(), 0.9 * ones, torch.zeros(count, 19))
    return EventEmbedding(table, 8)


@pytest.mark.parametrize("outcome", SIMPLE, ids=lambda o: o.name)
def test_a_rule_sees_what_the_definition_sees(outcome: EventOutcome | ValueOutcome) -> None:
    """On every value of the grid around the limits, as the network rounds them, and on missing values."""
    events = embedding()
    rule = rule_of([outcome.code], NAMES, events)
    assert rule is not None
    ends = [60.0, 250, 15, 4, 0.1, 40, 6, 1, 12, 70, 10, 2000, 88, 100, 38.5, 30, 43, 50, 3000]
    wanted = torch.tensor([end + step * tick for end in ends for tick in (0.1, 0.37, 1) for step in range(-3, 4)])
    code = torch.arange(len(NAMES)).repeat_interleave(len(wanted))
    value = on_grid((wanted.repeat(len(NAMES)) / events.tick[code]).round(), events.tick[code])
    value[::50] = torch.nan
    table = pl.DataFrame(
        {
            "subject_id": np.arange(len(code)),
            "time": pl.Series([0]).cast(pl.Datetime("us")).extend_constant(0, len(code) - 1),
            "code": pl.Series(NAMES).gather(code.numpy()),
            "numeric_value": pl.Series(value.numpy()).fill_nan(None),
        }
    )
    derived = derive_outcomes(table).filter(code=outcome.code)["subject_id"].to_numpy()
    happened = rule.happened(code.numpy(), value.numpy())
    np.testing.assert_array_equal(np.flatnonzero(happened), np.sort(derived))
    assert happened.any()
    assert not happened.all()


def test_unions_and_plain_codes() -> None:
    rule = rule_of(["OUTCOME//death", "OUTCOME//hyperkalemia_gt_6", "HOSPITAL_DISCHARGE//ALIVE"], NAMES, embedding())
    assert rule is not None
    assert rule.event.tolist() == [7, 8, 9, 10]
    assert rule.code.tolist() == [2]
    assert rule.smallest.item() == pytest.approx(6.1)
    assert rule.largest.item() == pytest.approx(12.0)
    alone = rule_of(["HOSPITAL_DISCHARGE//DIED"], NAMES, embedding())
    assert alone is not None
    assert alone.event.tolist() == [7]  # a plain code stands for itself, not for what is below it


def test_what_no_single_decision_brings_about_has_no_rule() -> None:
    for name in ("vasopressor_start", "creatinine_ge_1p5x_first"):
        assert rule_of(["OUTCOME//death", f"OUTCOME//{name}"], NAMES, embedding()) is None
    with pytest.raises(TaskError, match="OUTCOME//sepsis is brought by its source"):
        rule_of(["OUTCOME//sepsis"], NAMES, embedding())


def test_a_threshold_of_a_tasks_own_has_a_rule_where_its_definition_is_given() -> None:
    own = ValueOutcome(
        kind="value", name="low", description="", codes=["CONCEPT//potassium"], plausible=(1, 12), at_most=3.0
    )
    rule = rule_of(["OUTCOME//low"], NAMES, embedding(), outcomes() | {"low": own})
    assert rule is not None
    assert (rule.smallest.item(), rule.largest.item()) == (pytest.approx(1.0), pytest.approx(3.0))
    with pytest.raises(TaskError, match="brought by its source"):
        rule_of(["OUTCOME//low"], NAMES, embedding())


def rule_of_toy(toy: Toy, *asked: str) -> Rule:
    rule = rule_of(asked, toy.run.vocabulary.table["code"].to_list(), toy.network.events)
    assert rule is not None
    return rule


@torch.no_grad()
def test_the_chance_that_is_taken_out_is_that_of_the_draws(toy: Toy) -> None:
    """Values drawn a hundred thousand times at one decision: with the rule, never a hit; without, its share."""
    rule = rule_of_toy(toy, "OUTCOME//lactate_gt_4", "OUTCOME//death")
    network, lactate = toy.network, toy.code("CONCEPT//lactate")
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(200, network.config.d_decoder, generator=generator)
    known = torch.full((200, 1), 4.0), torch.full((200, 1), 3600.0)
    masses = forbid(network, rule, states, torch.full((200, len(toy.run.vocabulary) + 1), 0.01), known)[1]
    u = states[(masses[:, 0] - 0.3).abs().argmin()][None]
    chance = torch.full((1, len(toy.run.vocabulary) + 1), 0.01)
    chance[0, lactate], chance[0, -1] = 0.5, 0.2
    chance = chance / chance.sum()
    before = chance.clone()
    hit, mass = forbid(network, rule, u, chance, (known[0][:1], known[1][:1]))
    count = 100_000
    density = network.value_density(u, torch.tensor([lactate]), known[0][0], known[1][0])
    many = type(density)(*(x.expand(count, -1) for x in density))
    uniform = torch.rand(count, 2, generator=generator)
    z = many.draw(uniform)
    codes = torch.full((count,), lactate)
    high = rule.happened(codes.numpy(), network.events.denormalise(codes, z).numpy())
    assert 0.01 < mass.item() < 0.99
    assert high.mean() == pytest.approx(mass.item(), abs=0.006)
    share = network.events.value_share[lactate].item()
    expected = before[0, rule.event].sum() + before[0, lactate] * share * mass.item()
    assert hit.item() == pytest.approx(float(expected), abs=1e-6)
    assert chance.sum().item() == pytest.approx(1 - hit.item(), abs=1e-6)
    block = block_of(rule, codes, mass.expand(count, -1))
    low = network.events.denormalise(codes, many.draw_outside(uniform, block.lower, block.upper))
    assert not rule.happened(codes.numpy(), low.numpy()).any()
    others = block_of(rule, torch.tensor([toy.code("CONCEPT//heart_rate"), lactate]), mass.expand(2, -1))
    assert others.lower.tolist() == [torch.inf, rule.lower.item()]
    assert others.mass.tolist() == [0.0, pytest.approx(mass.item())]


def test_a_value_at_the_threshold_lies_on_the_side_of_the_recorded_one() -> None:
    low = ValueOutcome(kind="value", name="low", description="", codes=["CONCEPT//ph"], plausible=(6.5, 8), below=7.3)
    one = torch.ones(1)
    events = EventEmbedding(CodeTable(7.4 * one, 0.1 * one, 0.01 * one, one.bool(), one, torch.zeros(1, 19)), 8)
    rule = rule_of(["OUTCOME//low"], ["CONCEPT//ph"], events, {"low": low})
    assert rule is not None
    assert (rule.smallest.item(), rule.largest.item()) == (np.float32(6.5), np.float32(7.29))
    assert rule.happened(np.zeros(2, np.int64), np.array([7.29, 7.3], np.float32)).tolist() == [True, False]
