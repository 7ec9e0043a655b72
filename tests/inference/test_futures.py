"""Risks by counting futures: they agree with asking, and with the truth."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers.toy_process import true_chance_to_leave, true_risk
from inference.conftest import HOUR, Toy
from sojourn.errors import DataError, SojournError, StoreError, TaskError
from sojourn.inference.estimates import Estimator, SampledRisk
from sojourn.inference.futures import Drawn, Sampling, draw, first_times, futures_at_once, simulated_risk
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, query_risk
from sojourn.inference.sampler import SampledEvents
from sojourn.inference.simulate import simulate
from sojourn.tasks.cohort import stay_ends

NUM_MOMENTS, NUM_SAMPLES = 24, 150


@pytest.fixture(scope="module")
def some(toy: Toy) -> Moments:
    """Moments of the known hospitals, half of them of sick patients."""
    site = toy.store.subjects["site"].to_numpy()[toy.at_four.row]
    half = [np.flatnonzero((site != "west") & (toy.is_sick == sick))[: NUM_MOMENTS // 2] for sick in (False, True)]
    return Moments(*(field[np.concatenate(half)] for field in toy.at_four))


@pytest.mark.parametrize("estimator", ["conditional", "count"])
@pytest.mark.parametrize("outcome", ["OUTCOME//death", "HOSPITAL_DISCHARGE//ALIVE"])
def test_sampling_and_asking_agree(toy: Toy, some: Moments, outcome: str, estimator: Estimator) -> None:
    task = {"name": "toy", "outcomes": [outcome], "horizon_hours": 12}
    sampling = Sampling(NUM_SAMPLES, 32, 0, estimator)
    counted = simulated_risk(toy.network, toy.reader, some, task, sampling=sampling).probability
    asked = query_risk(toy.network, toy.reader, some, Question([toy.code(outcome)], 12), context=32).probability
    chance = true_risk if outcome == "OUTCOME//death" else true_chance_to_leave
    for sick, half in ((False, slice(0, NUM_MOMENTS // 2)), (True, slice(NUM_MOMENTS // 2, None))):
        error = np.sqrt((counted[half] * (1 - counted[half]) / NUM_SAMPLES).mean() / (NUM_MOMENTS // 2))
        # Both are learnt apart, in 220 steps, after which two trainings that differ in rounding alone differ by 0.02:
        # they agree as far as each has come near the truth.
        assert abs(asked[half].mean() - chance(sick, 12)) < 0.06
        assert abs(counted[half].mean() - chance(sick, 12)) < 3 * error + 0.06


@pytest.mark.parametrize("estimator", ["conditional", "count"])
def test_a_question_until_the_end_of_the_stay_counts_nothing_after_it(
    toy: Toy, some: Moments, estimator: Estimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were each heart rate the end of a stay, whoever dies would have to die within the hour."""
    monkeypatch.setattr("sojourn.inference.futures.stay_ends", lambda anchor: ["CONCEPT//heart_rate"])
    task = {"name": "toy", "outcomes": ["OUTCOME//death"], "horizon_hours": None, "until": "stay_end"}
    sampling = Sampling(NUM_SAMPLES, 32, 0, estimator)
    risk = simulated_risk(toy.network, toy.reader, some, task, sampling=sampling).probability
    whole = simulated_risk(toy.network, toy.reader, some, task | {"until": "record_end"}, sampling=sampling).probability
    expected = np.mean([true_risk(sick, 1) for sick in (False, True)])
    assert risk.mean() == pytest.approx(expected, abs=0.02)
    assert whole.mean() > 6 * expected


def test_a_stay_ends_with_its_discharge_its_hospital_or_the_next_one() -> None:
    assert stay_ends("icu_admission") == ["ICU_DISCHARGE", "ICU_ADMISSION", "MEDS_DEATH", "HOSPITAL_DISCHARGE"]
    assert stay_ends("hospital_admission") == ["HOSPITAL_DISCHARGE", "HOSPITAL_ADMISSION", "MEDS_DEATH"]
    assert stay_ends("record_start") == ["MEDS_DEATH", "HOSPITAL_DISCHARGE//DIED"]


# -- the estimator from conditional chances --------------------------------------------------------------------


def risk_of(
    toy: Toy, moments: Moments, outcomes: list[str], estimator: Estimator, *, num_samples: int, seed: int = 0
) -> SampledRisk:
    task = {"name": "toy", "outcomes": outcomes, "horizon_hours": 12}
    sampling = Sampling(num_samples, 32, seed, estimator)
    return simulated_risk(toy.network, toy.reader, moments, task, sampling=sampling)


@pytest.mark.parametrize(
    "outcomes",
    [
        ["OUTCOME//lactate_gt_4"],
        ["OUTCOME//lactate_gt_4", "OUTCOME//death"],
        ["HOSPITAL_DISCHARGE//ALIVE"],
        ["CONCEPT//lactate"],
    ],
    ids="+".join,
)
def test_conditional_chances_give_what_counting_gives_with_less_noise(
    toy: Toy, some: Moments, outcomes: list[str]
) -> None:
    """Without bias against many counted futures, for each moment and for all together, and with less variance."""
    num_counted, num_samples, half = 300, 40, Moments(*(x[::2] for x in some))
    counted = risk_of(toy, half, outcomes, "count", num_samples=num_counted, seed=1)
    found = risk_of(toy, half, outcomes, "conditional", num_samples=num_samples)
    assert (counted.estimator, found.estimator) == ("count", "conditional")
    variance = counted.standard_error**2 + 1 / num_counted**2 + found.standard_error**2
    z = (found.probability - counted.probability) / np.sqrt(variance)
    assert np.abs(z).max() < 4.5
    assert abs(z.mean()) * np.sqrt(len(z)) < 3.5
    of_one = found.standard_error**2 * num_samples
    of_count = counted.probability * (1 - counted.probability)
    assert of_one.mean() < 0.6 * of_count.mean()


def test_chances_never_vary_more_than_counts(toy: Toy, some: Moments) -> None:
    """Also where the outcome is almost sure, and a sum of chances would vary more."""
    found = risk_of(toy, some, ["CONCEPT//heart_rate"], "conditional", num_samples=30)
    assert found.probability.min() > 0.5
    most = found.probability * (1 - found.probability) / 29
    assert (found.standard_error**2 <= most + 1e-9).all()


def test_the_interval_covers_what_many_futures_say(toy: Toy, some: Moments) -> None:
    """Also the tiny risks of the healthy, which one future in a hundred carries."""
    outcomes, half = ["OUTCOME//lactate_gt_4"], Moments(*(x[::2] for x in some))
    truth = risk_of(toy, half, outcomes, "conditional", num_samples=300, seed=9).probability
    covered = []
    for seed in range(4):
        few = risk_of(toy, half, outcomes, "conditional", num_samples=16, seed=seed)
        assert ((few.lower <= few.probability) & (few.probability <= few.upper)).all()
        covered.append((few.lower <= truth) & (truth <= few.upper))
    assert np.mean(covered) > 0.8
    is_healthy = truth < 0.01
    assert is_healthy.any()
    assert np.mean(covered, axis=0)[is_healthy].min() > 0.8
    assert few.upper[is_healthy].max() < 0.1


@pytest.mark.parametrize("estimator", ["conditional", "count"])
def test_moments_in_one_batch_have_the_risks_that_they_have_alone(
    toy: Toy, some: Moments, estimator: Estimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, few = ["OUTCOME//lactate_gt_4"], Moments(*(x[9:15] for x in some))
    together = risk_of(toy, few, outcomes, estimator, num_samples=8)
    monkeypatch.setattr("sojourn.inference.futures._MAX_FUTURES", 5)
    in_parts = risk_of(toy, few, outcomes, estimator, num_samples=8)
    np.testing.assert_allclose(in_parts.probability, together.probability, atol=1e-4)
    backwards = risk_of(toy, Moments(*(x[::-1] for x in few)), outcomes, estimator, num_samples=8)
    np.testing.assert_allclose(backwards.probability[::-1], together.probability, atol=1e-4)


def test_what_no_single_event_brings_about_is_counted(toy: Toy, some: Moments) -> None:
    wanted = ["OUTCOME//vasopressor_start", "OUTCOME//death"]
    found = risk_of(toy, some, wanted, "conditional", num_samples=20)
    assert found.estimator == "count"
    # There are no vasopressors in the toy world.
    counted = risk_of(toy, some, ["OUTCOME//death"], "count", num_samples=20)
    np.testing.assert_array_equal(found.probability, counted.probability)


def test_caches_of_all_futures_fit_into_a_gibibyte(toy: Toy) -> None:
    assert futures_at_once(toy.network, 32) == 1024
    config = toy.network.config
    far = 10**6
    count = futures_at_once(toy.network, far)
    assert 1 <= count * 2 * 4 * config.num_layers * config.d_model * far <= 2**30


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
    drawn = Drawn(events, real.past, 4 * HOUR, np.zeros(4, bool))
    assert first_times(toy.reader, drawn, ["OUTCOME//death"]).rows() == [(0, 5.0), (2, 2.0)]
    assert first_times(toy.reader, drawn, ["OUTCOME//death", "OUTCOME//lactate_gt_4"]).rows() == [(0, 1.0), (2, 2.0)]
    assert first_times(toy.reader, drawn, ["CONCEPT//lactate"]).rows() == [(0, 1.0), (3, 3.0)]
    nothing = Drawn(SampledEvents(*(column[:0] for column in events)), real.past, 4 * HOUR, np.zeros(4, bool))
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
    assert report.share_ended == pytest.approx(ended / 50, abs=0.03)  # a discharge all but always ends a record
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


def test_an_outcome_that_no_future_can_hold_is_refused_and_part_of_one_is_told(
    toy: Toy, some: Moments, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TaskError, match="too rare"):
        risk_of(toy, some, ["OUTCOME//icu_death"], "conditional", num_samples=2)
    risk_of(toy, some, ["OUTCOME//icu_death", "OUTCOME//death"], "conditional", num_samples=2)
    assert "OUTCOME//icu_death" in capsys.readouterr().err
