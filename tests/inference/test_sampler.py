"""Sampled futures: possible ones only, the same from the same seed, at a cost that does not grow."""

from typing import Any

import numpy as np
import pytest
import torch

from helpers.toy_process import LACTATE_SHARE
from inference.conftest import HOUR, Toy
from sojourn.inference.futures import Drawn, Sampling, draw, terminal_codes
from sojourn.inference.histories import Moments, ask
from sojourn.inference.sampler import FutureSampler, _roll, last_known, prefill
from sojourn.model import Network
from sojourn.model.backbone import LayerCache


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


def test_nothing_follows_a_terminal_event(toy: Toy, futures: Drawn) -> None:
    events, is_terminal = futures.events, terminal_codes(toy.reader).numpy()
    ended = {int(s): int(t) for s, t, c in zip(*events[:3], strict=True) if is_terminal[c]}
    assert len(ended) > 100
    for sample, last in ended.items():
        assert events.seconds[events.sample == sample].max() == last


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


def test_the_cache_never_outgrows_the_context(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    step = Network.step

    def spy(self: Network, batch: Any, cache: list[LayerCache]) -> Any:
        sizes.append(cache[0].key.shape[2])
        return step(self, batch, cache)

    monkeypatch.setattr(Network, "step", spy)
    drawn(toy, context=8, hours=48)
    assert len(sizes) > 20
    assert max(sizes) == 8
    assert sizes[0] == 6  # static facts and the instants at 0 to 4 h


def test_rolling_keeps_the_static_position_and_the_newest() -> None:
    key = torch.arange(10.0).view(1, 1, 10, 1)
    (rolled,) = _roll([LayerCache(key, -key)], 4)
    assert rolled.key.flatten().tolist() == [0, 7, 8, 9]
    assert rolled.value.flatten().tolist() == [0, -7, -8, -9]
    short = [LayerCache(key[:, :, :4], key[:, :, :4])]
    assert _roll(short, 4) is short


@torch.no_grad()
def test_the_history_is_taken_in_as_the_likelihood_takes_it(toy: Toy) -> None:
    (asked,) = ask(toy.reader, Moments(toy.at_four.row[:1], toy.at_four.seconds[:1]), context=32)
    h, cache = prefill(toy.network, asked.batch)
    whole = toy.network.states(asked.batch)
    torch.testing.assert_close(h, whole[:, -1], atol=1e-4, rtol=1e-4)
    assert cache[0].key.shape[2] == asked.batch.segment.shape[1]


@pytest.mark.parametrize("context", [4, 32])
def test_last_values_are_those_that_training_sees_however_old_they_are(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, context: int
) -> None:
    """A lactate older than the window must still be the previous value of the next one."""
    longest = int(np.argmax(toy.store.subjects["num_instants"].to_numpy()))
    records = toy.reader.read(np.array([longest]))
    start = FutureSampler._start
    seen: list[Any] = []

    def spy(self: FutureSampler, *given: Any) -> Any:
        seen.append(start(self, *given)[0])
        return start(self, *given)

    monkeypatch.setattr(FutureSampler, "_start", spy)
    code = records.events.code
    # The last event of each code knows its own previous one: ask just before it.
    for event in {int(c): int(np.flatnonzero(code == c)[-1]) for c in np.unique(code)}.values():
        now = int(records.events.seconds[event]) - 1
        if now < 0:
            continue
        draw(toy.network, toy.reader, longest, now, horizon_hours=1e-3, sampling=Sampling(1, context, 0))
        memory, c = seen.pop(), int(code[event])
        np.testing.assert_equal(memory.last_value[0, c].item(), records.previous_value[event].item())
        delay = records.events.seconds[event] - memory.last_time[0, c].item()
        np.testing.assert_equal(delay, float(records.previous_delay[event]))
    lactate = toy.code("CONCEPT//lactate")
    oldest = np.flatnonzero(code == lactate)[0]
    after = int(records.events.seconds[oldest]) + 1
    draw(toy.network, toy.reader, longest, after, horizon_hours=1e-3, sampling=Sampling(1, context, 0))
    assert seen.pop().last_value[0, lactate] == records.events.value[oldest]


def test_an_admission_long_before_the_window_is_remembered(toy: Toy) -> None:
    longest = int(np.argmax(toy.store.subjects["num_instants"].to_numpy()))
    drawn = draw(toy.network, toy.reader, longest, 30 * HOUR, horizon_hours=1e-3, sampling=Sampling(1, 4, 0))
    assert drawn.past.seconds.min() == 0
    assert drawn.past.seconds.max() <= 30 * HOUR
    admission = toy.code("ICU_ADMISSION//MICU")
    last_value, last_time = last_known(drawn.past, len(toy.run.vocabulary))
    assert last_time[admission] == 0
    assert last_value[admission].isnan()


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
