"""Who cannot have the start of a treatment: worked times, and the search that labels are made by."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch

from helpers.toy_process import HEART_RATE, SETTINGS, START, build_toy_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, query_risk
from sojourn.tasks.outcomes import StartOutcome, outcomes, running_until
from sojourn.training.at_risk import starts, wait_hours
from sojourn.training.config import read_config
from sojourn.training.hazards import count_hazards
from sojourn.training.loss import losses
from sojourn.training.records import RecordReader
from sojourn.training.selection import Selection
from sojourn.training.trainer import Trainer

PRESSORS, VENTILATION = "OUTCOME//vasopressor_start", "OUTCOME//ventilation_start"
NOREPINEPHRINE, EPINEPHRINE, VENTILATOR = "CONCEPT//norepinephrine", "CONCEPT//epinephrine", "CONCEPT//ventilation"


def reader_of(folder: pytest.TempPathFactory, marks: list[tuple[int, float, str, float | None]]) -> RecordReader:
    """Subjects with heart rates at 0 and 200 h, and (subject, hour, code, value) besides."""
    every = [(i, h, HEART_RATE, 80.0) for i in sorted({mark[0] for mark in marks}) for h in (0.0, 200.0)]
    rows = [(i, START + timedelta(hours=h), code, value, "north") for i, h, code, value in [*every, *marks]]
    store = EventStore.open(build_toy_store(folder.mktemp("starts"), num_subjects=0, rows=rows))
    return RecordReader(store, ModelVocabulary.fit(store, store.rows(), min_count=1), [])


def waits(reader: RecordReader, subject: int, at: list[float], code: str) -> list[float]:
    records = reader.read(reader.store.find(np.array([subject])))
    seconds = (np.array(at) * 3600).astype(np.int64)
    codes = np.array([reader.vocabulary.index["CONCEPT//heart_rate"], reader.vocabulary.index[code]])
    found = wait_hours(records, np.zeros(len(at), np.int64), seconds, codes, starts(reader))
    assert not found[:, 0].any()  # a measurement can always come
    return [round(float(hours), 4) for hours in found[:, 1]]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> RecordReader:
    return reader_of(
        tmp_path_factory,
        [
            # One drug takes over from the other.
            (1, 10, f"{NOREPINEPHRINE}//start", 0.1),
            (1, 20, f"{EPINEPHRINE}//start", 0.1),
            (1, 22, f"{NOREPINEPHRINE}//end", None),
            (1, 30, f"{EPINEPHRINE}//end", None),
            # Nobody says when it ended: 24 h at most. A rate of zero is an end.
            (2, 10, f"{NOREPINEPHRINE}//start", 0.1),
            (2, 80, f"{NOREPINEPHRINE}//start", 0.1),
            (2, 81, f"{NOREPINEPHRINE}//start", 0.0),
            # A change of rate: the old one ends when the new one starts.
            (3, 10, f"{VENTILATOR}//start", None),
            (3, 12, f"{VENTILATOR}//end", None),
            (3, 12, f"{VENTILATOR}//start", None),
            # A rate that is charted tells that it runs, for longer than a start alone does.
            (4, 10, f"{NOREPINEPHRINE}//start", 0.1),
            (4, 30, f"{NOREPINEPHRINE}//rate", 0.2),
            (4, 50, f"{NOREPINEPHRINE}//rate", 0.1),
            (4, 70, f"{NOREPINEPHRINE}//rate", 0.1),
            (4, 70, f"{NOREPINEPHRINE}//end", None),
            # Settings of a ventilator that was started tell that it runs; after its end, or without a start, nothing.
            (6, 10, f"{VENTILATOR}//start", None),
            *((6, float(hour), "CONCEPT//peep", 0.0) for hour in range(40, 121, 10)),
            (7, 10, f"{VENTILATOR}//start", None),
            (7, 12, f"{VENTILATOR}//end", None),
            *((7, float(hour), "CONCEPT//peep", 5.0) for hour in range(0, 121, 10)),
            (5, 10, f"{NOREPINEPHRINE}//rate", 0.2),
            (5, 20, f"{NOREPINEPHRINE}//rate", 0.0),
        ],
    )


@pytest.mark.parametrize(
    ("subject", "code", "at", "expected"),
    [
        (1, PRESSORS, [0, 9.9, 10, 21, 25, 30, 40, 54, 60], [0, 0, 24, 24, 24, 24, 14, 0, 0]),
        (2, PRESSORS, [33, 34, 44, 58, 79, 80.5, 81, 90], [24, 24, 14, 0, 0, 24, 24, 15]),
        (4, PRESSORS, [9, 20, 45, 60, 73, 90, 94], [0, 24, 24, 24, 21, 4, 0]),
        (5, PRESSORS, [9, 12, 20, 30], [0, 24, 24, 14]),
        (6, VENTILATION, [9, 60, 110, 125, 128, 130, 152], [0, 24, 24, 24, 24, 22, 0]),
        (7, VENTILATION, [9, 11, 20, 36], [0, 24, 16, 0]),
        (3, VENTILATION, [9, 11, 12, 50, 84, 90, 108], [0, 24, 24, 24, 24, 18, 0]),
    ],
)
def test_waits_of_a_worked_example(
    worked: RecordReader, subject: int, code: str, at: list[float], expected: list[float]
) -> None:
    """What runs is not known to end: the whole washout. Of what has ended, what is left of it."""
    assert waits(worked, subject, at, code) == expected


def test_what_comes_later_has_no_part(worked: RecordReader, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An end that is told after the moment does not make a forgotten run of 24 h a longer one."""
    late = reader_of(
        tmp_path_factory,
        [(1, 10, f"{NOREPINEPHRINE}//start", 0.1), (1, 70, f"{NOREPINEPHRINE}//end", None)],
    )
    assert waits(late, 1, [44, 60, 69, 70], PRESSORS) == [*waits(worked, 2, [44, 60, 69], PRESSORS), 24]


def test_where_ends_are_not_charted_the_definition_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It takes an open start for over after 72 h, so that a start at 130 h is a new one."""
    marks: list[tuple[int, float, str, float | None]] = [
        (1, hour, f"{VENTILATOR}//start", None) for hour in (10.0, 130.0)
    ]
    marks += [(1, float(hour), "CONCEPT//peep", 5.0) for hour in range(10, 131, 10)]
    reader = reader_of(tmp_path_factory, marks)
    assert waits(reader, 1, [60, 90, 110, 129], VENTILATION) == [24, 16, 0, 0]


@pytest.fixture(scope="module")
def on_and_off(tmp_path_factory: pytest.TempPathFactory) -> RecordReader:
    """Forty patients on one drug or another for some time, again and again."""
    rng, marks = np.random.default_rng(0), []
    for subject in range(1, 41):
        for drug in (NOREPINEPHRINE, EPINEPHRINE):
            times = np.cumsum(rng.choice([1, 5, 20, 40], size=6))
            marks += [(subject, float(t), f"{drug}//{('start', 'end')[k % 2]}", 0.1) for k, t in enumerate(times)]
    return reader_of(tmp_path_factory, marks)


def test_no_start_comes_while_it_is_said_to_be_impossible(on_and_off: RecordReader) -> None:
    """By the definition that labels are made with, on random marks of several drugs, all runs being closed."""
    reader, rng = on_and_off, np.random.default_rng(1)
    records = reader.read(np.arange(len(reader.store)))
    definition = outcomes()["vasopressor_start"]
    assert isinstance(definition, StartOutcome)
    names = reader.vocabulary.table["code"]
    events = pl.DataFrame(
        {
            "subject_id": records.events.subject,
            "time": records.events.seconds.astype("datetime64[s]").astype("datetime64[us]"),
            "code": [names[int(code)] for code in records.events.code],
            "numeric_value": records.events.value,
        }
    )
    runs = running_until(events, definition)
    subject, seconds = rng.integers(0, 40, 400), rng.integers(0, 160 * 3600, 400)
    code = np.array([reader.vocabulary.index[PRESSORS]])
    blocked = wait_hours(records, subject, seconds, code, starts(reader))[:, 0] > 0
    assert 0.2 < blocked.mean() < 0.9
    next_start = records.outcome_index.first_after(subject, np.full(400, code[0]), seconds)
    hours = (records.all_events.seconds[next_start] - seconds) / 3600
    wait = wait_hours(records, subject, seconds, code, starts(reader))[:, 0]
    assert ((hours >= wait - 1e-3) | (next_start < 0)).all()
    for i in range(400):
        mine = runs.filter((pl.col("subject_id") == subject[i]) & (pl.col("time").dt.epoch("s") <= seconds[i]))
        until = mine["until"].dt.epoch("s").max() if len(mine) else None
        assert blocked[i] == (until is not None and seconds[i] - int(str(until)) < 24 * 3600)


@pytest.fixture(scope="module")
def trainer(on_and_off: RecordReader, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Of a network that was not trained yet, asked for starts of a vasopressor and for heart rates."""
    outcomes = [PRESSORS, "CONCEPT//heart_rate"]
    settings = SETTINGS | {"min_count": 1, "tuning_split": None, "outcomes": outcomes, "any_code_weight": 0.0}
    return Trainer(Selection(on_and_off.store, read_config(settings)), tmp_path_factory.mktemp("untrained"))


def test_nothing_is_learnt_from_those_who_cannot_have_it(trainer: Trainer) -> None:
    (step, *_), network = trainer.selection.plan(trainer.selection.train_rows, epoch=0), trainer.network.eval()
    sample = trainer.sampler.sample(step, 0, is_training=True)
    targets = sample.outcomes
    is_start = (targets.code == trainer.selection.vocabulary.index[PRESSORS])[None, :]
    assert targets.is_at_risk[:, ~is_start[0]].all()
    assert 0.1 < targets.is_at_risk[:, is_start[0]].float().mean() < 0.9

    def outcome_loss(changed: torch.Tensor) -> float:
        hours = torch.where(changed, 1000.0, targets.hours)
        return float(losses(network, sample._replace(outcomes=targets._replace(hours=hours))).outcomes.detach())

    nothing = torch.zeros_like(targets.is_at_risk)
    assert outcome_loss(~targets.is_at_risk) == outcome_loss(nothing)
    assert outcome_loss(targets.is_at_risk & is_start) != outcome_loss(nothing)


def test_hazards_start_from_what_those_at_risk_had(trainer: Trainer) -> None:
    plan = trainer.selection.plan(trainer.selection.train_rows, epoch=0)[:1]
    events, exposure = count_hazards(trainer.sampler, plan, (24.0, 48.0))
    moments, targets = trainer.sampler.ask_all(plan[0], 0)
    code = trainer.selection.vocabulary.index[PRESSORS]
    mine = ((moments.gap == 0) & targets.is_at_risk[:, code]).numpy()
    hours, is_event = targets.hours[:, code].numpy()[mine], targets.is_event[:, code].numpy()[mine]
    assert events[code, 0] == (is_event & (hours <= 24)).sum() > 5
    assert exposure[code, 0] == pytest.approx(np.minimum(moments.known.numpy()[mine], 24.0).sum(), rel=1e-6)
    assert mine.sum() < (moments.gap == 0).sum()


def test_who_is_asked_while_it_runs_has_no_risk_yet(trainer: Trainer) -> None:
    """By the records alone, with nothing told by the caller."""
    reader, network = trainer.selection.reader, trainer.network.eval()
    row = np.arange(20)
    at = Moments(row, np.where(row % 2, 0, 30 * 3600))  # before the first mark of all, and amid them
    risk = query_risk(network, reader, at, Question([trainer.selection.vocabulary.index[PRESSORS]], 12), context=32)
    records = reader.read(row)
    code = np.array([trainer.selection.vocabulary.index[PRESSORS]])
    wait = wait_hours(records, row, at.seconds, code, starts(reader))[:, 0]
    assert (risk.probability[wait >= 12] < 1e-9).all()
    assert (risk.probability[wait == 0] > 1e-4).all()
    assert (wait >= 12).sum() > 3 < (wait == 0).sum()
