"""Risks by counting futures: they agree with asking, and with the truth."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from helpers.toy_process import true_risk
from inference.conftest import HOUR, Toy
from sojourn.errors import DataError, SojournError, StoreError, TaskError
from sojourn.inference.futures import Drawn, Sampling, draw, first_times, simulated_risk, wilson
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, query_risk
from sojourn.inference.sampler import SampledEvents
from sojourn.inference.simulate import simulate

NUM_MOMENTS, NUM_SAMPLES = 24, 150


@pytest.fixture(scope="module")
def some(toy: Toy) -> Moments:
    """Moments of the known hospitals, half of them of sick patients."""
    site = toy.store.subjects["site"].to_numpy()[toy.at_four.row]
    half = [np.flatnonzero((site != "west") & (toy.is_sick == sick))[: NUM_MOMENTS // 2] for sick in (False, True)]
    return Moments(*(field[np.concatenate(half)] for field in toy.at_four))


@pytest.mark.parametrize("outcome", ["OUTCOME//death", "HOSPITAL_DISCHARGE//ALIVE"])
def test_counting_and_asking_agree(toy: Toy, some: Moments, outcome: str) -> None:
    task = {"name": "toy", "outcomes": [outcome], "horizon_hours": 12}
    sampling = Sampling(NUM_SAMPLES, 32, 0)
    counted = simulated_risk(toy.network, toy.reader, some, task, sampling=sampling).probability
    asked = query_risk(toy.network, toy.reader, some, Question([toy.code(outcome)], 12), context=32).probability
    for half in (slice(0, NUM_MOMENTS // 2), slice(NUM_MOMENTS // 2, None)):
        error = np.sqrt((counted[half] * (1 - counted[half]) / NUM_SAMPLES).mean() / (NUM_MOMENTS // 2))
        assert abs(counted[half].mean() - asked[half].mean()) < 3 * error + 0.03
    if outcome == "OUTCOME//death":
        truth = np.repeat([true_risk(sick, 12) for sick in (False, True)], NUM_MOMENTS // 2)
        for half in (slice(0, NUM_MOMENTS // 2), slice(NUM_MOMENTS // 2, None)):
            assert counted[half].mean() == pytest.approx(truth[half].mean(), abs=0.07)


def test_wilson_intervals_are_those_of_scipy() -> None:
    hits, count = np.array([0, 3, 32, 64]), 64
    risk = wilson(hits / count, count)
    for i, hit in enumerate(hits):
        reference = binomtest(int(hit), count).proportion_ci(0.9, method="wilson")
        assert (risk.lower[i], risk.upper[i]) == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_first_times_of_worked_futures(toy: Toy) -> None:
    """What an outcome needs of the history is taken from it; what lies before now does not count."""
    row = int(toy.at_four.row[0])
    real = draw(toy.network, toy.reader, row, 4 * HOUR, horizon_hours=1, sampling=Sampling(1, 32, 0))
    death, lactate = toy.code("MEDS_DEATH"), toy.code("CONCEPT//lactate")
    events = SampledEvents(
        np.array([0, 0, 2, 3]),
        np.array([5, 9, 6, 7]) * HOUR,
        np.array([lactate, death, death, lactate]),
        np.float32([4.5, np.nan, np.nan, 3.9]),
    )
    drawn = Drawn(events, real.past, 4 * HOUR)
    assert first_times(toy.reader, drawn, ["OUTCOME//death"]).rows() == [(0, 5.0), (2, 2.0)]
    assert first_times(toy.reader, drawn, ["OUTCOME//death", "OUTCOME//lactate_gt_4"]).rows() == [(0, 1.0), (2, 2.0)]
    assert first_times(toy.reader, drawn, ["CONCEPT//lactate"]).rows() == [(0, 1.0), (3, 3.0)]
    nothing = Drawn(SampledEvents(*(column[:0] for column in events)), real.past, 4 * HOUR)
    assert first_times(toy.reader, nothing, ["OUTCOME//death"]).is_empty()


def test_outcomes_that_only_a_source_brings_cannot_be_counted(toy: Toy, some: Moments) -> None:
    sampling = Sampling(2, 32, 0)
    for outcomes, named in ((["OUTCOME//sepsis"], "OUTCOME//sepsis"), ([], "none")):
        task = {"name": "toy", "outcomes": outcomes, "horizon_hours": 6}
        with pytest.raises(TaskError, match=named):
            simulated_risk(toy.network, toy.reader, some, task, sampling=sampling)


# -- one patient -----------------------------------------------------------------------------------------------


def moment(toy: Toy, which: int = 0) -> tuple[int, datetime]:
    subject, at = toy.labels().row(which)
    return subject, at


def test_simulate_writes_futures_and_a_timeline(toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    subject, at = moment(toy)
    out = tmp_path / "sim"
    report = simulate(toy_run, toy_store, subject=subject, at=at, horizon_hours=12, num_samples=50, out=out)
    futures = pl.read_parquet(out / "futures.parquet")
    assert futures.columns == ["sample", "time", "code", "numeric_value"]
    assert futures["time"].min() > at
    assert futures["time"].max() <= at + timedelta(hours=12)
    assert futures.height == report.num_events
    assert report.events_per_hour == pytest.approx(futures.height / 50 / 12)
    ended = futures.filter(pl.col("code").str.starts_with("HOSPITAL_DISCHARGE"))["sample"].n_unique()
    assert report.share_ended == pytest.approx(ended / 50)
    timeline = json.loads((out / "timeline.json").read_text())
    assert timeline["prediction_hours"] == 4.0
    assert str(subject) not in json.dumps(timeline["subject"])
    assert {risk["outcome"] for risk in timeline["risks"]} == {
        name.removeprefix("OUTCOME//") for name in toy.run.outcomes
    }
    for risk in timeline["risks"]:
        for curve in (risk["incidence"], risk["sampled"]):
            assert len(curve) == len(risk["hours"]) == 25
            assert curve[0] == 0
            assert (np.diff(curve) >= 0).all()
    observed = next(part for part in timeline["observed"] if part["code"] == "CONCEPT//heart_rate")
    assert observed["hours"] == [-4, -3, -2, -1, 0]
    fan = next(part for part in timeline["futures"] if part["code"] == "CONCEPT//heart_rate")
    assert (np.array(fan["q05"]) <= np.array(fan["q50"])).all()
    assert (np.array(fan["q50"]) <= np.array(fan["q95"])).all()
    again = simulate(toy_run, toy_store, subject=subject, at=at, horizon_hours=12, num_samples=50, out=tmp_path / "b")
    assert again.num_events == report.num_events
    assert (tmp_path / "b" / "futures.parquet").read_bytes() == (out / "futures.parquet").read_bytes()


def test_simulate_refuses_what_it_cannot_do(toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    subject, at = moment(toy)

    def run(error: type[SojournError], named: str, **changes: object) -> None:
        settings = {"subject": subject, "at": at, "horizon_hours": 1.0, "num_samples": 2, "out": tmp_path / "sim"}
        with pytest.raises(error, match=named):
            simulate(toy_run, toy_store, **(settings | changes))  # type: ignore[arg-type]

    run(TaskError, "before the subject's first event", at=at - timedelta(days=2))
    run(StoreError, "subject_ids must be in", subject=10**9)
    assert not (tmp_path / "sim").exists()
    (tmp_path / "sim").mkdir()
    run(DataError, "must not exist yet")
