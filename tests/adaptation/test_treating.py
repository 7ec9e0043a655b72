"""How often a hospital treats: a factor of the starts of treatments, told by the records alone."""

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy.stats import spearmanr

from helpers.toy_process import HEART_RATE, SETTINGS, START, Row, build_toy_store
from sojourn.adaptation.adapt import adapt
from sojourn.adaptation.treating import treating
from sojourn.events.store import EventStore
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, query_risk
from sojourn.training.pretrain import pretrain
from sojourn.training.run import Run

PRESSORS = "OUTCOME//vasopressor_start"
PER_HOUR = {"north": 0.03, "south": 0.03, "west": 0.0075}
STAY_H, RUNS_H = 48, 2


def record(subject_id: int, site: str, *, notes_outcome: bool = False) -> list[Row]:
    """Two days of hourly heart rates; from one hour to the next a vasopressor starts, runs 2 h, and may come again."""
    rng = np.random.default_rng(subject_id)
    note = lambda hour, code, value: (subject_id, START + timedelta(hours=hour), code, value, site)  # noqa: E731
    rows: list[Row] = [note(h, HEART_RATE, float(np.round(rng.normal(90, 6)))) for h in range(STAY_H)]
    ended = -math.inf
    for hour in range(1, STAY_H):
        if hour > ended and rng.random() < PER_HOUR[site]:
            rows += [note(hour, "CONCEPT//norepinephrine//start", 0.1)]
            rows += [note(hour + RUNS_H, "CONCEPT//norepinephrine//end", None)]
            ended = hour + RUNS_H
    rows.append(note(STAY_H, "HOSPITAL_DISCHARGE//ALIVE", None))
    if notes_outcome:  # what somebody else has written down, and nobody may learn from
        rows.append(note(5, "OUTCOME//lactate_gt_4", None))
    return sorted(rows, key=lambda row: row[1] or START)


def starts_an_hour(site: str) -> float:
    """Starts for each hour at whose beginning none ran, or had run within a day, among patients 1 to 600."""
    num_starts = num_hours = 0
    for i in (i for i in range(1, 601) if list(PER_HOUR)[i % 3] == site):
        begun = [(row[1] - START) / timedelta(hours=1) for row in record(i, site) if row[1] and "start" in row[2]]
        for hour in range(STAY_H - 1):
            if all(b > hour or hour - (b + RUNS_H) >= 24 for b in begun):
                num_hours, num_starts = num_hours + 1, num_starts + (hour + 1 in begun)
    return num_starts / num_hours


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store of three hospitals and a run that knows two of them."""
    folder = tmp_path_factory.mktemp("treating")
    rows = [row for i in range(1, 601) for row in record(i, list(PER_HOUR)[i % 3])]
    store = build_toy_store(folder, num_subjects=0, rows=rows)
    config = SETTINGS | {"held_out_sites": ["west"], "max_steps": 60, "epochs": 100, "context": 64}
    pretrain(store, folder / "run", config=config)
    return folder / "run", store


def test_the_ratio_is_that_of_the_habits(hospitals: tuple[Path, Path]) -> None:
    run, store = Run(hospitals[0]), EventStore.open(hospitals[1])
    found = {site: treating(run.network(), run, store, store.rows(sites=[site])) for site in PER_HOUR}
    for site in ("north", "south"):
        assert found[site][PRESSORS].ratio == pytest.approx(1.0, abs=0.2)
    habits = starts_an_hour("west") / np.mean([starts_an_hour("north"), starts_an_hour("south")])
    assert habits < 0.4
    assert found["west"][PRESSORS].ratio == pytest.approx(habits, abs=0.08)
    assert 0 < found["north"][PRESSORS].variance < found["west"][PRESSORS].variance < 0.1
    # Twelve patients have too few starts to say anything; 200 of west have.
    assert treating(run.network(), run, store, store.rows(sites=["west"])[:12]) == {}


def test_risks_of_treatments_take_the_level_of_the_hospital_and_keep_their_order(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    path, store_path = hospitals
    report = adapt(path, store_path, tmp_path / "new", site="west", config={"what": "levels", "max_subjects": 150})
    assert set(report.levels) == {PRESSORS}
    store = EventStore.open(store_path)
    rows = store.rows(sites=["west"])
    at = Moments(rows, np.full(len(rows), 3600))
    risks = {}
    for name in (path, tmp_path / "new"):
        run = Run(name)
        question = Question([run.vocabulary.index[PRESSORS]], 12)
        risks[name] = query_risk(run.network(), run.reader(store), at, question, context=64).probability
    before, after = risks.values()
    truth = 1 - (1 - PER_HOUR["west"]) ** 12
    assert before.mean() > 2.5 * truth
    assert truth / 1.5 < after.mean() < 1.8 * truth  # a part of the way: hospitals are not expected to differ fourfold
    assert spearmanr(before, after).statistic > 0.99  # but for ties in float32
    shift = [load_file(str(name / "model.safetensors"))["first_head.log_base"] for name in risks]
    moved = (shift[1] - shift[0]).abs().sum(1).nonzero().flatten().tolist()
    assert moved == [Run(path).vocabulary.index[PRESSORS]]
    only_looking = adapt(path, store_path, tmp_path / "looking", site="west", config={"what": "looking"})
    assert only_looking.levels == {}


def test_outcomes_that_do_not_follow_from_the_records_have_no_part_in_it(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Run(hospitals[0])
    found = []
    for notes in (False, True):
        rows = [row for i in range(1, 201) for row in record(i, "west", notes_outcome=notes)]
        store = EventStore.open(build_toy_store(tmp_path / str(notes), num_subjects=0, rows=rows))
        found.append(treating(run.network(), run, store, store.rows()))
    assert found[0] == found[1] != {}
