"""The level of risks at a hospital that looks less often: moved by its measuring alone, towards what is then found."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.toy_process import LACTATE_SHARE, build_toy_store, toy_record
from inference.conftest import Toy
from sojourn.adaptation.adapt import AdaptReport, adapt
from sojourn.adaptation.level import known_looking, shifts_of
from sojourn.errors import RunError
from sojourn.events.store import EventStore
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, query_risk
from sojourn.training.observed import Ratio
from sojourn.training.run import Run

HIGH_LACTATE = "OUTCOME//lactate_gt_4"


@pytest.fixture(scope="module")
def seldom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a hospital that measures lactate every second day; the known ones do every few hours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LACTATE_SHARE, "west", 0.02)
        rows = [row for i in range(1, 601) for row in toy_record(i, "west", 7)]
    return build_toy_store(tmp_path_factory.mktemp("seldom"), num_subjects=0, rows=rows)


@pytest.fixture(scope="module")
def fitted(toy_run: Path, seldom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AdaptReport]:
    new = tmp_path_factory.mktemp("level") / "run"
    return new, adapt(toy_run, seldom, new, site="west", config={"what": "looking", "max_subjects": 300})


def test_the_level_falls_towards_what_is_found(fitted: tuple[Path, AdaptReport], toy_run: Path, seldom: Path) -> None:
    new, report = fitted
    assert report.levels[HIGH_LACTATE] < 0.6
    assert (report.num_subjects, report.num_tuning_subjects, report.nats, report.best_epoch) == (300, 0, None, 0)
    store = EventStore.open(seldom)
    rows = store.rows()
    at = Moments(rows, np.full(len(rows), 2 * 3600))
    last = np.array([store.subject(int(row)).seconds[-1] for row in rows])
    at = Moments(*(field[last > 2 * 3600] for field in at))
    code = store.vocabulary["code"].to_list().index(HIGH_LACTATE)
    found = 0
    for row in at.row:
        record = store.subject(int(row))
        found += bool(((record.code == code) & (record.seconds > 2 * 3600) & (record.seconds <= 26 * 3600)).any())
    expected = {}
    for run in (toy_run, new):
        trained = Run(run)
        question = Question([trained.vocabulary.index[HIGH_LACTATE]], 24)
        reader = trained.reader(store)
        expected[run] = query_risk(trained.network(), reader, at, question, context=32).probability
    before, after = (expected[run].sum() / found for run in (toy_run, new))
    assert before > 1.7
    assert abs(math.log(after)) < 0.6 * abs(math.log(before))
    assert (np.argsort(expected[new]) == np.argsort(expected[toy_run])).mean() > 0.95  # but for ties in float32


def test_nothing_but_levels_of_outcomes_that_show_in_a_value_moves(
    fitted: tuple[Path, AdaptReport], toy_run: Path
) -> None:
    before, after = (load_file(str(run / "model.safetensors")) for run in (toy_run, fitted[0]))
    moved = {n for n in before if before[n].shape == after[n].shape and not torch.equal(before[n], after[n])}
    assert moved == {"first_head.log_base"}
    shift = (after["first_head.log_base"] - before["first_head.log_base"]).numpy()
    code = Run(toy_run).vocabulary.index[HIGH_LACTATE]
    np.testing.assert_allclose(shift[code], math.log(fitted[1].levels[HIGH_LACTATE]), rtol=1e-4)
    assert (np.delete(shift, code, axis=0) == 0).all()


def test_a_hospital_that_looks_like_the_known_ones_stays_where_it_is(
    toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path
) -> None:
    # Of the two that the run knows, one measures lactate at half of the hours and one at a seventh; west at a third.
    report = adapt(toy_run, toy_store, tmp_path / "new", site="west", config={"what": "looking"})
    assert 2 / 3 < report.levels[HIGH_LACTATE] < 3 / 2  # a run of 220 steps: 1.12 to 1.33 with three seeds


def test_a_run_made_from_another_run_is_refused(
    fitted: tuple[Path, AdaptReport], toy_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="Give the pre-trained run itself"):
        adapt(fitted[0], toy_store, tmp_path / "new", site="west", config={"what": "looking"})
    assert not (tmp_path / "new").exists()


def test_what_few_patients_say_counts_less(toy_run: Path) -> None:
    known = known_looking(Run(toy_run))
    assert known[HIGH_LACTATE].num_subjects > 50
    ratio = known[HIGH_LACTATE].ratio
    found = [{HIGH_LACTATE: Ratio(2 * ratio, variance, 20)} for variance in (0.0, 0.1, 1e6)]
    shifts = [shifts_of(known, told, prior=0.5)[HIGH_LACTATE] for told in found]
    assert math.log(2) >= shifts[0] > shifts[1] > shifts[2]
    assert shifts[2] == pytest.approx(0, abs=1e-6)
    assert shifts_of(known, found[0], prior=0.0) == {HIGH_LACTATE: 0.0}
    assert shifts_of(known, {}, prior=0.5) == {}
