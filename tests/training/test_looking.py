"""Observed over expected measuring, by its definition and by what must not move it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sojourn.events.store import EventStore
from sojourn.files import read_json
from sojourn.model.summary import CodeStatistics
from sojourn.tasks.outcomes import outcomes
from sojourn.training.folder import LOOKING
from sojourn.training.looking import Watched, looking, watched
from sojourn.training.looking import _crossed as crossed
from sojourn.training.looking import _Hazards as Hazards
from sojourn.training.looking import _terms as terms
from sojourn.training.run import Run
from sojourn.training.statistics import code_statistics
from sojourn.training.targets import FirstTargets, Moments

HIGH_LACTATE = "OUTCOME//lactate_gt_4"


def test_only_outcomes_that_show_in_a_value_are_watched(toy_run: Path, toy_store: Path) -> None:
    run = Run(toy_run)
    (found,) = watched(run.vocabulary, run.outcomes, EventStore.open(toy_store))
    assert found.outcome == run.vocabulary.index[HIGH_LACTATE]
    assert [run.vocabulary.table["code"][code] for code in found.codes] == ["CONCEPT//lactate"]


def test_a_run_says_how_often_its_hospitals_look(toy_run: Path) -> None:
    told = read_json(toy_run / LOOKING)
    assert set(told) == {HIGH_LACTATE}
    # North and south are what the run was trained on: what it expects of them is about what they do.
    assert 0.7 < told[HIGH_LACTATE]["ratio"] < 1.4
    assert 0 < told[HIGH_LACTATE]["variance"] < 0.1


def test_few_subjects_say_nothing(toy_run: Path, toy_store: Path) -> None:
    run, store = Run(toy_run), EventStore.open(toy_store)
    asked = watched(run.vocabulary, run.outcomes, store)
    assert looking(run.network(), run.reader(store), np.arange(5), asked, context=32) == {}
    assert looking(run.network(), run.reader(store), np.arange(40), [], context=32) == {}


def test_the_ratio_is_the_same_again(toy_run: Path, toy_store: Path) -> None:
    run, store = Run(toy_run), EventStore.open(toy_store)
    asked = watched(run.vocabulary, run.outcomes, store)
    rows = store.rows(sites=["north"])[:60]
    first, again = (looking(run.network(), run.reader(store), rows, asked, context=32) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("name", ["lactate_gt_4", "hypotension_map_lt_60", "fever_ge_38p5"])
def test_who_had_it_within_a_day_is_not_at_risk(toy_run: Path, toy_store: Path, name: str) -> None:
    """Against a loop over the records, with heart rates in the place of what the outcome is about."""
    run, store = Run(toy_run), EventStore.open(toy_store)
    records = run.reader(store).read(np.arange(30))
    code = run.vocabulary.index["CONCEPT//heart_rate"]
    values = records.events.value[records.events.code == code]
    limit = float(np.quantile(values, 0.9 if name != "hypotension_map_lt_60" else 0.1))
    definition = outcomes()[name]
    field = next(field for field in ("above", "at_least", "below") if getattr(definition, field, None) is not None)
    one = Watched(0, (code,), definition.model_copy(update={field: limit}))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    subject, seconds = rng.integers(0, 30, 200), rng.integers(0, 48 * 3600, 200)
    found = crossed(one, code_statistics(records, subject, seconds), 200)
    for i in range(200):
        past = records.past(int(subject[i]), int(seconds[i]))
        recent = past.value[(past.code == code) & (past.seconds > seconds[i] - 86400)]
        wanted = {"above": recent > limit, "at_least": recent >= limit, "below": recent < limit}[field].any()
        assert found[i] == wanted


def test_measuring_at_random_gives_a_ratio_of_one_however_short_the_records() -> None:
    """Codes come at a known rate, records end on the way: who was not seen to be measured counts as well."""
    rng, num, per_hour = np.random.default_rng(0), 20_000, 0.05
    watched_h, first = rng.uniform(0, 30, num), rng.exponential(1 / per_hour, num)
    is_event = first <= watched_h
    hours = np.where(is_event, first, watched_h)
    two = lambda x: torch.from_numpy(np.stack([x, x], 1))  # noqa: E731
    nothing = CodeStatistics(
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 7),
        torch.zeros(0, 2),
        torch.zeros(0),
    )
    blank = torch.zeros(num)
    moments = Moments(
        subject=torch.arange(num),
        position=torch.arange(num),
        gap=blank,
        time=blank,
        clock=blank,
        age=blank,
        past=nothing,
        known=torch.from_numpy(watched_h),
        watched=torch.from_numpy(watched_h),
        weight=torch.ones(num, 1),
    )
    targets = FirstTargets(torch.arange(num), torch.arange(2), two(hours), two(is_event), torch.ones(num, 2) > 0)
    within = np.minimum(watched_h, 24.0)
    ones = np.ones((num, 2))
    hazards = Hazards(day=0.3 * ones, watched=per_hour * within[:, None] * ones)
    one = Watched(0, (1,), outcomes()["lactate_gt_4"])  # type: ignore[arg-type]
    observed, expected = terms(one, hazards, within, moments, targets, {0: 0, 1: 1})
    assert observed.sum() / expected.sum() == pytest.approx(1.0, abs=0.03)
