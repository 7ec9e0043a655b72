"""Histories: windows that end where somebody asks, and hold enough of the past."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.toy_process import HEART_RATE, START, Row, build_toy_store
from inference.conftest import HOUR, Toy
from sojourn.errors import RunError, StoreError, TaskError
from sojourn.events.store import EventStore
from sojourn.inference.histories import Moments, ask, moment_of, moments, states


def all_moments(toy: Toy, step_s: int = HOUR) -> Moments:
    """Every so many seconds of 40 records, some before the first event and some after the last."""
    longest = np.argsort(-toy.store.subjects["num_instants"].to_numpy())[:10]
    rows = np.unique(np.concatenate([longest, np.arange(30)]))
    last = [int(toy.store.subject(int(row)).seconds[-1]) for row in rows]
    seconds = [np.arange(-2 * HOUR, end + 3 * HOUR, step_s) for end in last]
    return Moments(np.repeat(rows, [len(s) for s in seconds]), np.concatenate(seconds))


@pytest.mark.parametrize("context", [8, 31, 1000])
def test_every_moment_is_answered_once_from_its_own_past(toy: Toy, context: int) -> None:
    at = all_moments(toy, 1800)
    answered = np.zeros(len(at.row), dtype=int)
    for asked in ask(toy.reader, at, context=context, instants_per_batch=300):
        answered[asked.which] += 1
        batch = asked.batch
        order, time, segment = (field.flatten()[asked.position].numpy() for field in batch[1:3] + batch[:1])
        now = at.seconds[asked.which]
        for i in range(len(now)):
            instants = np.unique(toy.store.subject(int(at.row[asked.which[i]])).seconds)
            assert asked.time[i] == max(now[i], 0)  # moments before the record count from its start
            seen = instants[instants <= now[i]]
            # A trailing outcome is no instant of the history.
            shown = toy.reader.read(at.row[asked.which[i : i + 1]]).instant_time
            shown = shown[shown <= now[i]]
            assert order[i] == len(shown) <= len(seen)
            assert time[i] == (shown[-1] if len(shown) else 0)
            assert asked.gap[i] == max(now[i] - time[i], 0)
            inside = ((batch.segment == segment[i]) & (batch.order > 0) & (batch.order <= int(order[i]))).sum()
            assert inside >= min(len(shown), context // 2)
            assert inside <= context
    assert (answered == 1).all()


def test_no_window_goes_beyond_the_last_moment_asked_in_it(toy: Toy) -> None:
    longest = int(np.argmax(toy.store.subjects["num_instants"].to_numpy()))
    (asked,) = ask(toy.reader, Moments(np.array([longest, longest]), np.array([3, 9]) * HOUR), context=32)
    assert asked.batch.time.max() == 9 * HOUR
    assert asked.batch.order.tolist() == [list(range(11))]
    assert not asked.batch.survival.any()  # how long a record is watched says something of its future


def test_moments_count_from_each_origin_and_drop_fractions(toy: Toy) -> None:
    row = 17
    subject, origin = toy.store.subjects["subject_id"][row], toy.store.subjects["origin"].to_numpy()[row]
    origin = origin.astype("datetime64[us]")
    times = origin + np.array([0, 1_999_999, -1, 3_600_000_000], dtype="timedelta64[us]")
    found = moments(toy.store, np.full(4, subject), times)
    assert found.row.tolist() == [row] * 4
    assert found.seconds.tolist() == [0, 1, -1, 3600]
    with pytest.raises(StoreError):
        moments(toy.store, np.array([10**9]), times[:1])


def test_a_network_in_training_is_not_asked(toy: Toy) -> None:
    network = toy.run.network().train()
    (asked,) = ask(toy.reader, Moments(toy.at_four.row[:1], toy.at_four.seconds[:1]), context=32)
    with pytest.raises(RunError, match="evaluation mode"):
        states(network, asked)


def test_states_do_not_depend_on_who_else_is_asked(toy: Toy) -> None:
    at = all_moments(toy)
    together = torch.empty(len(at.row), toy.run.config.network().d_model)
    for asked in ask(toy.reader, at, context=8):
        together[torch.from_numpy(asked.which)] = states(toy.network, asked)
    order = np.random.default_rng(0).permutation(len(at.row))[:40]
    for i in order:
        (asked,) = ask(toy.reader, Moments(at.row[[i]], at.seconds[[i]]), context=8)
        # States are computed in bfloat16 products, whose rounding depends on the shape of the batch.
        torch.testing.assert_close(states(toy.network, asked)[0], together[i], atol=2e-2, rtol=2e-2)


def test_a_late_entry_does_not_open_the_record_of_the_dead_again_but_another_stay_does(tmp_path: Path) -> None:
    rows: list[Row] = []
    for subject, end in ((1, "MEDS_DEATH"), (2, "HOSPITAL_DISCHARGE//DIED//HOSPICE"), (3, "HOSPITAL_DISCHARGE//ALIVE")):
        rows += [
            (subject, START, "ICU_ADMISSION//MICU", None, "north"),
            (subject, START + timedelta(hours=5), end, None, "north"),
            (subject, START + timedelta(hours=6), HEART_RATE, 80.0, "north"),
        ]
    store = EventStore.open(build_toy_store(tmp_path, num_subjects=0, rows=rows))
    for subject in (1, 2):
        assert moment_of(store, subject, START + timedelta(hours=4)).seconds[0] == 4 * HOUR
        with pytest.raises(TaskError, match=r"had ended 2\.0 h before"):
            moment_of(store, subject, START + timedelta(hours=7))
    assert moment_of(store, 3, START + timedelta(hours=7)).seconds[0] == 7 * HOUR


def test_after_a_discharge_it_is_said_that_the_record_may_be_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most records go on with another stay. An outcome that no history shows opens none again."""
    rows: list[Row] = [
        (1, START, "ICU_ADMISSION//MICU", None, "north"),
        (1, START + timedelta(hours=5), "HOSPITAL_DISCHARGE//ALIVE", None, "north"),
        (1, START + timedelta(hours=30), "OUTCOME//death_after_discharge", None, "north"),
    ]
    store = EventStore.open(build_toy_store(tmp_path, num_subjects=0, rows=rows))
    assert moment_of(store, 1, START + timedelta(hours=4)).seconds[0] == 4 * 3600
    assert "discharged" not in capsys.readouterr().err
    for hours in (5, 31):
        moment_of(store, 1, START + timedelta(hours=hours))
        assert f"discharged {hours - 5:.1f} h before" in capsys.readouterr().err
