"""Sampled futures: possible ones only, the same from the same seed, at a cost that does not grow."""

import math

import numpy as np
import pytest
import torch

from helpers.toy_process import LACTATE_SHARE
from inference.conftest import HOUR, Toy
from sojourn.inference import sampler as sampler_module
from sojourn.inference.futures import Drawn, Sampling, draw, ends_of
from sojourn.inference.histories import Moments
from sojourn.inference.rollout import Rollout, begin
from sojourn.inference.sampler import FutureSampler
from sojourn.inference.starts import Starts, starts
from sojourn.model import Batch, Network
from sojourn.model.cache import RollingCache
from sojourn.model.policy import gap_log_survival
from sojourn.training.batches import collate, pack, positions, whole_records


def drawn(
    toy: Toy, which: int = 0, *, seed: int = 0, hours: float = 24, now: int = 4 * HOUR, context: int = 32
) -> Drawn:
    row = int(toy.at_four.row[which])
    return draw(toy.network, toy.reader, row, now, horizon_hours=hours, sampling=Sampling(200, context, seed))


@pytest.fixture(scope="module")
def futures(toy: Toy) -> Drawn:
    return drawn(toy)


def test_the_same_seed_draws_the_same_futures(toy: Toy, futures: Drawn) -> None:
    for one, two in zip(futures.events, drawn(toy).events, strict=True):
        np.testing.assert_array_equal(one, two)
    other = drawn(toy, seed=1).events
    assert len(other.code) != len(futures.events.code) or (other.value != futures.events.value).any()


def test_events_lie_after_now_and_within_the_horizon(toy: Toy, futures: Drawn) -> None:
    for events, now in ((futures.events, 4 * HOUR), (drawn(toy, now=4 * HOUR + 1800, hours=6).events, 4 * HOUR + 1800)):
        hours = 24 if now == 4 * HOUR else 6
        assert events.seconds.min() > now
        assert events.seconds.max() <= now + hours * HOUR
        assert (events.seconds % HOUR == 0).all()  # the tick of the site


def test_events_are_sorted_and_in_canonical_order_inside_an_instant(futures: Drawn) -> None:
    events = futures.events
    assert (np.lexsort((events.code, events.seconds, events.sample)) == np.arange(len(events.code))).all()
    assert len(np.unique(events.sample)) > 190


def test_nothing_follows_a_death_and_a_discharge_ends_what_it_ended_in_training(toy: Toy, futures: Drawn) -> None:
    is_terminal, is_death = (codes.numpy() for codes in ends_of(toy.run.vocabulary))
    events = futures.events
    for kind, most in ((is_death, 0.0), (is_terminal, 0.02)):
        ended = {int(s): int(t) for s, t, c in zip(*events[:3], strict=True) if kind[c]}
        goes_on = [events.seconds[events.sample == sample].max() > last for sample, last in ended.items()]
        assert len(ended) > 20
        assert np.mean(goes_on) <= most


@torch.inference_mode()
def test_a_discharge_ends_a_future_as_often_as_the_network_says(toy: Toy) -> None:
    network = toy.run.network()
    network.gap_head.ends.weight.zero_()
    network.gap_head.ends.bias.fill_(math.log(0.25 / 0.75))
    is_terminal, is_death = ends_of(toy.run.vocabulary)
    sampler = FutureSampler(network, is_terminal, is_death, context=32, seed=0)
    begun = started(toy, Moments(toy.at_four.row[:8], toy.at_four.seconds[:8]))
    found = sampler.sample(begun, horizon_s=24 * HOUR, num_samples=60)
    alive = (is_terminal & ~is_death).numpy()[found.events.code]
    num_discharges = len(np.unique(found.events.sample[alive] * 10**7 + found.events.seconds[alive]))
    num_ended = int(found.ended.sum()) - len(np.unique(found.events.sample[is_death.numpy()[found.events.code]]))
    assert num_discharges > 250
    assert num_ended / num_discharges == pytest.approx(0.25, abs=0.08)


@torch.inference_mode()
def test_a_silence_after_a_discharge_speaks_for_the_end(toy: Toy) -> None:
    """Bayes: the odds of an end grow by what the silence takes from those who go on."""
    start = started(toy, Moments(toy.at_four.row[:1], toy.at_four.seconds[:1]))
    rollout = begin(toy.network, start, horizon_s=24 * HOUR, copies=4000, first=0, context=32, seed=0)
    sampler, memory = FutureSampler(toy.network, *ends_of(toy.run.vocabulary), context=32, seed=0), rollout.memory
    memory.wait.fill_(1.2 * HOUR)
    head = toy.network.gap_head
    density = head(memory.h[:1], memory.z_site[:1], memory.clock(memory.time)[:1])
    silent = float(gap_log_survival(density, memory.wait[:1], memory.tick[:1]).exp())
    share = float(torch.sigmoid(head.end_logit(memory.h[:1], memory.z_site[:1])))
    sampler._end(rollout, torch.arange(4000))
    expected = share / (share + (1 - share) * silent)
    assert float(rollout.ended.double().mean()) == pytest.approx(expected, abs=0.03)
    assert torch.equal(rollout.goes_on, ~rollout.ended)
    assert silent < 0.5


@torch.inference_mode()
def test_several_records_of_a_code_in_one_instant_stand_in_canonical_order(toy: Toy) -> None:
    """A network that hardly ends an instant: values rise, and the state keeps the last, as where the record is read."""
    network = toy.run.network()
    heart_rate = toy.code("CONCEPT//heart_rate")
    network.code_head.bias[heart_rate] += 9
    network.code_head.bias[-1] -= 3
    start = started(toy, Moments(toy.at_four.row[:1], toy.at_four.seconds[:1]))
    rollout = begin(network, start, horizon_s=24 * HOUR, copies=300, first=0, context=32, seed=0)
    sampler = FutureSampler(network, *ends_of(toy.run.vocabulary), context=32, seed=0)
    drawn = sampler._instant(rollout, sampler._next_time(rollout))
    row, code, value = (column.numpy() for column in (drawn.row, drawn.code, drawn.value))
    assert (np.lexsort((value, code, row)) == np.arange(len(row))).all()
    mine = code == heart_rate
    assert mine.sum() > 300
    for future in range(300):
        kept = rollout.memory.last_value[future, heart_rate]
        torch.testing.assert_close(kept, drawn.value[torch.from_numpy(mine & (row == future))][-1], equal_nan=True)


def test_only_codes_of_a_history_are_drawn_and_values_lie_on_their_grid(toy: Toy, futures: Drawn) -> None:
    events, table = futures.events, toy.run.vocabulary.table
    assert not (table["target_only"] | table["is_static"]).to_numpy()[events.code].any()
    heart_rate, lactate = toy.code("CONCEPT//heart_rate"), toy.code("CONCEPT//lactate")
    for code, tick in ((heart_rate, 1.0), (lactate, 0.1)):
        values = events.value[(events.code == code) & ~np.isnan(events.value)] / tick
        np.testing.assert_allclose(values, np.round(values), atol=1e-3)
    assert np.isnan(events.value[events.code == toy.code("HOSPITAL_DISCHARGE//ALIVE")]).mean() > 0.98


def test_futures_look_like_the_process(toy: Toy) -> None:
    """Hourly instants, each with a heart rate of the patient's kind and a lactate as often as the site looks."""
    site = toy.store.subjects["site"].to_numpy()[toy.at_four.row]
    for name in ("north", "south"):
        for sick, level in ((False, 80.0), (True, 115.0)):
            which = int(np.flatnonzero((site == name) & (toy.is_sick == sick))[0])
            events = drawn(toy, which, hours=12).events
            rate = events.code == toy.code("CONCEPT//heart_rate")
            assert np.median(events.value[rate]) == pytest.approx(level, abs=4)
            assert np.quantile(events.value[rate], [0.25, 0.75]) == pytest.approx([level - 4, level + 4], abs=3)
            share = (events.code == toy.code("CONCEPT//lactate")).sum() / rate.sum()
            assert share == pytest.approx(LACTATE_SHARE[name], abs=0.1)
            gaps = np.diff(np.unique(events.sample[rate] * 10**7 + events.seconds[rate]))
            assert np.median(gaps) == HOUR


def test_no_more_than_the_context_is_looked_at(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    step = Network.step

    def spy(self: Network, batch: Batch, phi: torch.Tensor, cache: RollingCache) -> torch.Tensor:
        h = step(self, batch, phi, cache)
        seen.append(cache.num_seen)
        return h

    monkeypatch.setattr(Network, "step", spy)
    drawn(toy, context=8, hours=48)
    assert len(seen) > 20
    assert seen[0] == 1 + 5 + 1  # static facts, the instants at 0 to 4 h, the new one
    assert seen[2:] == [1 + 8] * (len(seen) - 2)


def started(toy: Toy, moments: Moments, *, context: int = 32) -> Starts:
    (begun,) = starts(toy.reader, moments, context=context, per_batch=100)
    return begun


def going(toy: Toy, begun: Starts, *, context: int = 32, copies: int = 2) -> Rollout:
    return begin(toy.network, begun, horizon_s=1.0, copies=copies, first=0, context=context, seed=0)


@torch.no_grad()
def test_a_future_is_taken_in_as_the_likelihood_takes_a_record(toy: Toy) -> None:
    """Real records fed to the rollout instant by instant: states, gaps, codes and values score as in one pass."""
    many = np.flatnonzero(toy.store.subjects["num_instants"].to_numpy() > 24)[:3]
    until = np.full(3, 10**6)
    whole = started(toy, Moments(many, until), context=200)
    first = np.array([5, 9, 2]) * HOUR
    begun = started(toy, Moments(many, first), context=200)
    assert (begun.length.diff() > 0).all()  # those of like length together
    rows = {int(w): i for i, w in enumerate(whole.which)}
    rollout = going(toy, begun, context=200)
    h = toy.network.states(whole.batch)
    memory = rollout.memory
    for i, which in enumerate(begun.which.tolist()):
        position = int(begun.length[i]) - 1
        for copy in range(2):
            torch.testing.assert_close(memory.h[2 * i + copy], h[rows[which], position], atol=1e-4, rtol=1e-4)
    # Each future is given the next real instants of its record.
    phi = toy.network.phi(whole.batch)
    L = whole.batch.time.shape[1]
    for ahead in range(10):
        place = [(rows[int(w)], int(begun.length[i]) + ahead) for i, w in enumerate(begun.which) for _ in range(2)]
        time = torch.stack([whole.batch.time[at] for at in place])
        step = memory.next_position(time)
        for name in ("gap", "clock", "age", "order"):
            wanted = torch.stack([getattr(whole.batch, name)[at] for at in place])
            torch.testing.assert_close(getattr(step, name)[:, 0], wanted, equal_nan=True)
        phi_sum = torch.stack([phi[whole.batch.event_position == row * L + at].sum(0) for row, at in place])
        memory.h.copy_(toy.network.step(step, phi_sum, rollout.cache)[:, 0])
        memory.time.copy_(time)
        memory.order.add_(1)
        torch.testing.assert_close(memory.h, torch.stack([h[at] for at in place]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("context", [4, 32])
def test_last_values_are_those_that_training_sees_however_old_they_are(toy: Toy, context: int) -> None:
    """A lactate older than the window must still be the previous value of the next one."""
    longest = int(np.argmax(toy.store.subjects["num_instants"].to_numpy()))
    records = toy.reader.read(np.array([longest]))
    code = records.events.code
    # The last event of each code knows its own previous one: ask just before it.
    for event in {int(c): int(np.flatnonzero(code == c)[-1]) for c in np.unique(code)}.values():
        now = int(records.events.seconds[event]) - 1
        if now < 0:
            continue
        begun, c = started(toy, Moments(np.array([longest]), np.array([now])), context=context), int(code[event])
        np.testing.assert_equal(begun.last_value[0, c].item(), records.previous_value[event].item())
        delay = records.events.seconds[event] - begun.last_time[0, c].item()
        np.testing.assert_equal(delay, float(records.previous_delay[event]))
    lactate = toy.code("CONCEPT//lactate")
    oldest = np.flatnonzero(code == lactate)[0]
    after = int(records.events.seconds[oldest]) + 1
    begun = started(toy, Moments(np.array([longest]), np.array([after])), context=context)
    assert begun.last_value[0, lactate] == records.events.value[oldest]


def test_the_same_futures_come_whatever_they_are_drawn_beside(toy: Toy) -> None:
    """Alone, with other patients, or in parts: the draws of a future are its own."""
    moments = Moments(toy.at_four.row[:5], toy.at_four.seconds[:5])
    sampler = FutureSampler(toy.network, *ends_of(toy.run.vocabulary), context=32, seed=3)
    begun = started(toy, moments)
    together = sampler.sample(begun, horizon_s=12 * HOUR, num_samples=20).events
    parts = [sampler.sample(begun, horizon_s=12 * HOUR, num_samples=10, first=first).events for first in (0, 10)]
    for i in range(5):
        alone = started(toy, Moments(moments.row[i : i + 1], moments.seconds[i : i + 1]))
        g = int(np.flatnonzero(begun.which == i)[0])
        single = sampler.sample(alone, horizon_s=12 * HOUR, num_samples=20).events
        for k in range(20):
            mine = [column[together.sample == 20 * g + k] for column in together]
            of_part = parts[k // 10]
            same = [column[of_part.sample == 10 * g + k % 10] for column in of_part]
            own = [column[single.sample == k] for column in single]
            for one, two, three in zip(mine[1:], same[1:], own[1:], strict=True):
                np.testing.assert_array_equal(one, two)
                np.testing.assert_array_equal(one, three)


def test_taking_out_futures_that_have_ended_changes_nothing(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = started(toy, Moments(toy.at_four.row[:6], toy.at_four.seconds[:6]))
    sampler = FutureSampler(toy.network, *ends_of(toy.run.vocabulary), context=8, seed=0)
    often = sampler.sample(begun, horizon_s=30 * HOUR, num_samples=12).events
    monkeypatch.setattr(Rollout, "take_out_ended", lambda self, time: time)
    never = sampler.sample(begun, horizon_s=30 * HOUR, num_samples=12).events
    for one, two in zip(often, never, strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_instant_that_never_ends_is_cut_off(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "_MAX_EVENTS", 1)
    events = drawn(toy, hours=5).events
    assert np.unique(events.sample * 10**7 + events.seconds, return_counts=True)[1].max() == 1


def test_each_hour_a_patient_dies_leaves_or_is_seen(toy: Toy) -> None:
    """Codes that go together are drawn together, and those that exclude each other are not."""
    events = drawn(toy, hours=1).events
    by_code = {name: set(events.sample[events.code == code]) for name, code in toy.run.vocabulary.index.items()}
    dies, leaves, stays = (by_code[name] for name in ("MEDS_DEATH", "HOSPITAL_DISCHARGE//ALIVE", "CONCEPT//heart_rate"))
    assert len(dies | leaves | stays) > 190
    assert len(dies & leaves) + len(dies & stays) + len(leaves & stays) < 6
    assert len(dies ^ by_code["HOSPITAL_DISCHARGE//DIED"]) < 4


def test_waiting_makes_an_instant_due(toy: Toy) -> None:
    """Everybody is seen every hour: whoever was not seen for 50 minutes is seen in 10."""
    events = drawn(toy, now=4 * HOUR + 50 * 60, hours=1).events
    due = events.seconds[np.unique(events.sample, return_index=True)[1]]
    assert (due == 5 * HOUR).mean() > 0.9


@pytest.mark.parametrize("hours", [1, 2, 9, 100, 1000])
def test_after_a_long_silence_nothing_comes_in_the_past(toy: Toy, hours: int) -> None:
    """Nobody was ever silent for so long in training: the far tail of the gap's density must still be drawn from."""
    lost = np.flatnonzero(np.isfinite(toy.store.subjects["follow_up_s"].to_numpy()))
    row = int(lost[0])
    last = int(toy.reader.read(lost[:1]).instant_time[-1])
    now = last + hours * HOUR
    events = draw(toy.network, toy.reader, row, now, horizon_hours=2000, sampling=Sampling(300, 32, 0)).events
    assert len(events.seconds) > 100
    assert events.seconds.min() > now
    # Drawn from a density, not all at the first possible moment.
    first = events.seconds[np.unique(events.sample, return_index=True)[1]]
    assert hours < 100 or len(np.unique(first)) > 5


def test_a_future_remembers_when_codes_came_as_training_tells_it(toy: Toy) -> None:
    """At the end of a history: the delays and intervals that the collated record has for its next instant."""
    records = toy.reader.read(toy.at_four.row[:6])
    windows = whole_records(records, 10_000)
    layout = pack(windows)
    batch, where, compared = collate(records, windows, layout), positions(windows, layout), 0
    for subject in range(6):
        instant = int(records.subject_start[subject]) + 3
        flat = int(where.flat[where.instant == instant][0])
        before = Moments(toy.at_four.row[[subject]], records.instant_time[[instant - 1]])
        start = next(starts(toy.reader, before, context=32, per_batch=1))
        delay = records.instant_time[instant] - start.last_time[0]
        for slot, code in enumerate(batch.seen_code[subject].tolist()):
            told = batch.seen_delay[flat, slot], batch.seen_interval[flat, slot]
            if code >= 0:
                known = delay[code].float(), start.last_interval[0, code]
                torch.testing.assert_close(known, told, equal_nan=True)
                compared += int(not told[1].isnan())
        for e in (batch.event_position == flat).nonzero()[:, 0].tolist():
            mine = slice(e - int(batch.event_rank[e]), e + 1)
            so_far = int((batch.code[mine] == batch.code[e]).sum())
            left = start.last_count[0, batch.code[e]] - so_far
            torch.testing.assert_close(left, batch.times_left[e], equal_nan=True)
    assert compared > 5


@torch.inference_mode()
def test_a_drawn_instant_moves_the_clocks_of_its_codes(toy: Toy) -> None:
    start = next(starts(toy.reader, Moments(toy.at_four.row[:1], toy.at_four.seconds[:1]), context=32, per_batch=1))
    sampler = FutureSampler(toy.network, *ends_of(toy.run.vocabulary), context=32, seed=0)
    rollout = begin(toy.network, start, horizon_s=24 * HOUR, copies=50, first=0, context=32, seed=0)
    memory = rollout.memory
    time, interval = memory.last_time.clone(), memory.last_interval.clone()
    drawn = sampler._instant(rollout, now := sampler._next_time(rollout))
    expected = (now[drawn.row] - time[drawn.row, drawn.code]).float()
    torch.testing.assert_close(memory.last_interval[drawn.row, drawn.code], expected, equal_nan=True)
    interval[drawn.row, drawn.code] = expected
    torch.testing.assert_close(memory.last_interval, interval, equal_nan=True)
    assert int((~expected.isnan()).sum()) > 20
    for row, code in zip(drawn.row.tolist(), drawn.code.tolist(), strict=True):
        times = ((drawn.row == row) & (drawn.code == code)).sum()
        assert int(memory.last_count[row, code]) == int(times)
