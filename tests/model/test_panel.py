"""Mates are found by their definition, and what they add moves the code head towards what came along before."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.model_records import NAN, Event, Record, make_batch, random_record
from helpers.panels import mates_by_definition
from sojourn.inference.panels import OpenPanels
from sojourn.model import Batch, Network
from sojourn.model.panel import (
    NUM_MATES,
    LastEvent,
    Mates,
    PanelBias,
    find_mates,
    mates_of,
    open_codes,
)
from sojourn.model.recency import LONGEST_S, PastOfCodes, known_codes, past_of_codes

END = 12


def mates_in(batch: Batch) -> tuple[Mates, list[Mates]]:
    """Mates of all decisions of a batch of one record, and by definition."""
    is_scored = batch.event_position > 0
    code, position, rank = batch.code[is_scored], batch.event_position[is_scored], batch.event_rank[is_scored]
    instants, inverse, count = torch.unique_consecutive(position, return_inverse=True, return_counts=True)
    last = torch.cumsum(count, 0) - 1
    before = torch.cat([torch.where(rank == 0, -1, torch.roll(code, 1)), code[last]])
    of = torch.cat([inverse, torch.arange(len(instants))])
    found = mates_of(batch, known_codes(past_of_codes(batch, instants)), is_scored, before, last, of, END)
    left = batch.times_left[is_scored]
    wanted = []
    for n, k in enumerate(of.tolist()):
        number = int(rank[n]) if n < len(code) else int(count[k])
        first = int(last[k] - count[k] + 1)
        so_far = code[first : first + number].tolist()
        times_left = float(left[first + number - 1]) if number else NAN
        past = batch.seen_delay[instants[k]], batch.seen_interval[instants[k]]
        wanted.append(mates_by_definition(so_far, *past, times_left))
    return found, wanted


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_mates_are_those_of_the_definition(seed: int, at_once: int) -> None:
    rng = np.random.default_rng(seed)
    record = random_record(seed, 8)
    if rng.random() < 0.3:  # a code that came too long ago
        record = record._replace(minutes=[*record.minutes[:4], *(m + LONGEST_S // 60 for m in record.minutes[4:])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sojourn.model.panel._AT_ONCE", at_once)
        found, wanted = mates_in(make_batch([[record]]))
    assert torch.equal(found.code, torch.cat([one.code for one in wanted]))
    is_mate = found.code >= 0
    assert torch.equal(found.kind[is_mate], torch.cat([one.kind for one in wanted])[is_mate])


@given(st.integers(0, 10_000))
def test_one_event_at_a_time_finds_the_same(seed: int) -> None:
    """As futures are drawn: three of them, which draw different events."""
    rng = np.random.default_rng(seed)
    delay = torch.from_numpy(rng.choice([60.0, 3600.0, 2 * LONGEST_S, np.nan], (3, END))).float()
    count = torch.where(torch.isnan(delay), torch.nan, torch.from_numpy(rng.integers(1, 4, (3, END))).float())
    interval = torch.from_numpy(rng.choice([60.0, 3600.0, np.nan], (3, END))).float()
    past = PastOfCodes(torch.arange(END).expand(3, -1), delay, interval)
    panels, drawn = OpenPanels(past, count), np.sort(rng.integers(0, END, (3, 6)), axis=1)
    row = torch.arange(3)
    for step in range(6):
        found = panels.mates(row)
        for n in row.tolist():
            so_far = drawn[n, :step].tolist()
            times_left = float(count[n, so_far[-1]] - so_far.count(so_far[-1])) if so_far else NAN
            wanted = mates_by_definition(so_far, delay[n], interval[n], times_left)
            mine = row.tolist().index(n)
            assert torch.equal(found.code[mine], wanted.code[0])
            is_mate = wanted.code[0] >= 0
            assert torch.equal(found.kind[mine][is_mate], wanted.kind[0][is_mate])
        if step == 3:
            row = row[1:]
        panels.add(row, torch.from_numpy(drawn[row, step]))


def test_codes_of_a_window_may_be_any_and_some_are_none() -> None:
    past = PastOfCodes(
        torch.tensor([[3, 5, 8, -1]]),
        torch.tensor([[60.0, 120.0, 60.0, NAN]]),
        torch.tensor([[600.0, NAN, 600.0, NAN]]),
    )
    instant, rank, ago = torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([60.0, 120.0, NAN])
    opened = open_codes(known_codes(past), instant, rank, ago[:2], torch.tensor([600.0, NAN]))
    assert opened.code.tolist() == [3, 5, 8]
    assert opened.rank.tolist() == [0, 1, 0]
    assert opened.is_twice.tolist() == [True, False, True]
    assert opened.per_instant.tolist() == [3]
    last = LastEvent(torch.tensor([3, 5, -1]), ago, torch.tensor([0.0, 1.0, NAN]), torch.tensor([1, 2, 0]))
    found = find_mates(last, opened, torch.zeros(3, dtype=torch.int64), 9)
    assert found.code[:, :3].tolist() == [[8, 9, -1], [8, 9, -1], [-1, -1, -1]]
    assert found.kind[:2, :2].tolist() == [[2 * NUM_MATES, 1], [3 * NUM_MATES, 1]]
    assert found.code[:, -1].tolist() == [3, 5, -1]
    assert (found.kind[:, -1] - 4 * NUM_MATES).tolist() == [2, 3, 0]


def test_a_record_without_a_past_has_no_panels() -> None:
    nothing, none = torch.empty(2, 0), torch.tensor([NAN])
    last = LastEvent(torch.tensor([1]), none, none, torch.tensor([1]))
    past = PastOfCodes(nothing.long(), nothing, nothing)
    opened = open_codes(known_codes(past), torch.tensor([0]), torch.tensor([0]), none, none)
    found = find_mates(last, opened, torch.tensor([0]), END)
    assert found.code.tolist() == [[-1] * NUM_MATES + [1]]


def test_a_bias_has_a_part_of_the_code_its_kind_and_the_state() -> None:
    bias = PanelBias(num_codes=4, d_decoder=3)
    torch.nn.init.normal_(bias.own)
    torch.nn.init.normal_(bias.kind.weight)
    u = torch.randn(2, 3)
    found = Mates(torch.tensor([[2, 4, *[-1] * 6, 1]] * 2), torch.tensor([[0, 9, *[0] * 6, 4 * NUM_MATES + 3]] * 2))
    made = bias(u, found)
    for n in range(2):
        for place, part in ((0, 0), (1, 0), (NUM_MATES, 1)):
            code, kind = found.code[n, place], found.kind[n, place]
            wanted = bias.own[code, part] + bias.kind.bias[kind] + bias.kind.weight[kind] @ u[n]
            torch.testing.assert_close(made[n, place], wanted)


@torch.no_grad()
def test_what_came_along_before_is_likelier(network: Network) -> None:
    """Codes 2, 5 and 7 once came together: after 2, an untrained network expects 5."""
    alone, together = [Event(2, NAN)], [Event(2, NAN), Event(5, NAN), Event(7, NAN)]

    def of_five(first: list[Event]) -> float:
        batch = make_batch([[Record([10, 70], [first, together], [])]])
        return float(network.log_prob(batch).code[len(first) + 1])

    assert of_five(together) > of_five(alone) + 0.5


@torch.no_grad()
def test_what_came_twice_is_expected_twice(network: Network) -> None:
    def of_second(first: list[Event]) -> float:
        batch = make_batch([[Record([10, 70], [first, [Event(2, 1.0), Event(2, 2.0)]], [])]])
        return float(network.log_prob(batch).code[len(first) + 1])

    assert of_second([Event(2, 1.0), Event(2, 2.0)]) > of_second([Event(2, 1.0)]) + 0.5
