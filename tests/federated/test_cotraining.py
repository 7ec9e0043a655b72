"""Generative co-training: draws are unbiased, what is learnt from them is what they say, and no record leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

from federated.conftest import SMALL
from federated.test_coordinator import Asked, Changed, lines
from helpers.toy_process import SETTINGS
from sojourn.errors import ConfigError, JobRefusedError, UpdateRefusedError
from sojourn.events.store import EventStore
from sojourn.federated import coordinator
from sojourn.federated.checkpoint import Progress, save_progress
from sojourn.federated.config import CoTraining, FederatedConfig, read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.cotraining import (
    Histories,
    answer_loss,
    check_answers,
    check_asked,
    draw_histories,
    learn,
    sampled_answers,
)
from sojourn.federated.governance.approval import check_question
from sojourn.federated.governance.manifest import propose
from sojourn.federated.local import Job
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.transport import InProcess
from sojourn.model import ModelConfig, Network
from sojourn.model.queries import FirstEventHead
from sojourn.training.pretrain import pretrain
from sojourn.training.run import Run

Make = Callable[..., InProcess]
TEACH = {"patients": 60, "moments_per_patient": 3, "local_steps": 4, "epochs": 2}
QUICK = {"patients": 12, "moments_per_patient": 1, "local_steps": 1, "epochs": 1}
MANY = CoTraining(patients=400, moments_per_patient=4, epochs=8, learning_rate=3e-3)


class Taught(NamedTuple):
    """A trained network, and synthetic patients drawn from it."""

    run: Path
    job: Job
    histories: Histories

    def network(self) -> Network:
        return Run(self.run).network()


@pytest.fixture(scope="module")
def taught(toy_store: EventStore, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    names = ("OUTCOME//death", "OUTCOME//hospital_death", "OUTCOME//lactate_gt_4", "HOSPITAL_DISCHARGE//ALIVE")
    settings = SETTINGS | {"max_steps": 60, "epochs": 100, "learning_rate": 5e-3, "outcomes": names}
    place = tmp_path_factory.mktemp("cotraining") / "run"
    pretrain(toy_store.path, place, config=settings)
    run = Run(place)
    network = run.network()
    job = Job(run.vocabulary, tuple(run.outcomes), tuple(run.sites), network.first_head.log_base, run.config)
    known = int(run.settings["data"]["num_training_subjects"])
    return Taught(place, job, draw_histories(network, job, known, MANY))


def test_moments_lie_inside_the_records(taught: Taught) -> None:
    table, asked = taught.histories
    assert 0.9 * MANY.patients * MANY.moments_per_patient < len(asked)
    check_asked(taught.histories, MANY)
    timed = table.filter(pl.col("time").is_not_null() & (pl.col("code") != "MEDS_BIRTH"))
    spans = timed.group_by("subject_id").agg(first=pl.col("time").min(), last=pl.col("time").max())
    joined = asked.join(spans, on="subject_id")
    assert len(joined) == len(asked)
    assert joined["prediction_time"].is_between(joined["first"], joined["last"]).all()


def test_histories_arrive_as_they_were_sent(taught: Taught) -> None:
    again = Histories.of(taught.histories.as_tensors())
    assert again.table.equals(taught.histories.table)
    assert again.asked.equals(taught.histories.asked)


def test_draws_have_the_networks_own_risks_as_their_mean(taught: Taught) -> None:
    """Calibration in the large of a network against its own draws, bin by bin."""
    network = taught.network()
    answers = sampled_answers(network, taught.job, taught.histories)
    assert np.array_equal(answers, sampled_answers(network, taught.job, taught.histories))
    silent = taught.network()
    with torch.no_grad():  # certain from the first bin on, and never
        silent.first_head.log_base.fill_(-25.0)
        silent.first_head.out.weight.zero_()
        silent.first_head.out.bias.zero_()
        silent.first_head.code_bias.weight.zero_()
    assert (sampled_answers(silent, taught.job, taught.histories) == network.first_head.num_bins).all()
    # The loss of draws under the network that made them is its entropy: no other hazards do better on average.
    own = _mean_loss(network, taught, answers)
    for shift in (-0.4, 0.4):
        moved = taught.network()
        moved.first_head.log_base += shift
        assert _mean_loss(moved, taught, answers) > own


def _mean_loss(network: Network, taught: Taught, answers: np.ndarray) -> float:
    from sojourn.federated import cotraining

    total = 0.0
    everything = np.ones(len(answers), np.bool_)
    codes = torch.tensor([taught.job.vocabulary.index[code] for code in taught.job.outcomes])
    for seen in cotraining._seen(network, taught.job, taught.histories, everything):
        with torch.no_grad():
            log_hazard = network.first_log_hazard(seen.h, seen.time, seen.past, codes)
        total += float(
            answer_loss(network.first_head, log_hazard, torch.from_numpy(answers[seen.which].astype(np.int64)))
        )
    return total / answers.size


def test_the_chances_of_all_answers_add_up_to_one() -> None:
    config = ModelConfig(hazard_edges_hours=(1.0, 2.0, 4.0), use_summary=False)
    head, log_hazard = FirstEventHead(config, torch.zeros(1, 4)), torch.randn(1, 1, 1, 4) - 2
    chances = [float(torch.exp(-answer_loss(head, log_hazard, torch.tensor([[k]])))) for k in range(5)]
    assert sum(chances) == pytest.approx(1.0)
    alive = torch.exp(-head.cumulative(log_hazard[0, 0, 0], torch.tensor([2.0, 4.0])))
    assert chances[2] == pytest.approx(float(alive[0] - alive[1]), abs=1e-6)


def test_the_shared_model_learns_what_the_sites_say_and_nothing_else_moves(taught: Taught) -> None:
    """Sites whose networks expect twice the hazard teach a network that expects less."""
    site = taught.network()
    site.first_head.log_base += 0.7
    answers = {"north": sampled_answers(site, taught.job, taught.histories)}
    student = taught.network()
    before = {name: weight.clone() for name, weight in student.named_parameters()}
    loss = _mean_loss(student, taught, answers["north"])
    learn(student, taught.job, taught.histories, answers, {"north": 1.0}, MANY)
    assert _mean_loss(student, taught, answers["north"]) < loss
    moved = {name for name, weight in student.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all(name.startswith("first_head.") for name in moved)
    assert all(weight.requires_grad for weight in student.parameters())


def test_what_leaves_a_site_is_one_small_number_per_question(network_of: Make, tmp_path: Path) -> None:
    passed: list[Message] = []

    def note(site: str, answer: Message) -> Message:
        passed.append(answer)
        return answer

    summary = federate(Changed(network_of(), note), tmp_path / "run", config=SMALL | {"cotraining": TEACH})
    labels = [answer for answer in passed if answer.kind == "label"]
    assert len(labels) == 3
    for answer in labels:
        assert answer.tensors.keys() == {"answers"}
        assert answer.tensors["answers"].dtype == np.uint8
        assert answer.numbers.keys() == {"steps"}
    tuning = [line["nats_per_event"] for line in lines(tmp_path / "run", "tuning")]
    assert len(tuning) == SMALL["rounds"] + 1
    assert tuning[-1] == pytest.approx(tuning[summary.best_round - 1]), "hazards alone were taught"


def test_an_interrupted_co_training_is_made_again_to_the_same_weights(network_of: Make, tmp_path: Path) -> None:
    config = SMALL | {"cotraining": TEACH}
    federate(network_of(tmp_path / "sites-whole"), tmp_path / "whole", config=config)

    def fail(site: str, answer: Message) -> Message:
        if answer.kind == "label" and site == "south":
            raise KeyboardInterrupt
        return answer

    with pytest.raises(KeyboardInterrupt):
        federate(Changed(network_of(tmp_path / "sites"), fail), tmp_path / "run", config=config)
    federate(network_of(tmp_path / "sites"), tmp_path / "run", config=config)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


class Judged(Changed):
    """Sites that find what was taught much better, or say nothing of it."""

    def __init__(self, inner: InProcess, *, is_told: bool) -> None:
        super().__init__(inner, self._judge)
        self.is_taught, self.is_told = False, is_told

    def _judge(self, site: str, answer: Message) -> Message | Refusal:
        self.is_taught |= answer.kind == "label"
        if not self.is_taught or answer.kind != "evaluate" or not answer.numbers:
            return answer
        return answer._replace(numbers=dict(answer.numbers) | {"nats_gap": 0.0}) if self.is_told else Refusal("budget")


@pytest.mark.parametrize("change", ["twice", "more", "others"])
def test_a_site_answers_so_many_different_moments_and_no_more(change: str, taught: Taught) -> None:
    """From many draws of one moment, whoever asks would have the risk itself."""
    one, later = taught.histories.asked[:1], pl.duration(seconds=pl.int_range(pl.len()))
    asked = {
        "twice": pl.concat([taught.histories.asked, one]),
        "more": pl.concat([one] * 5).with_columns(pl.col("prediction_time") + later),
        "others": pl.concat([one] * 401).with_columns(subject_id=pl.int_range(pl.len(), dtype=pl.Int64)),
    }[change]
    with pytest.raises(UpdateRefusedError) as error:
        check_asked(taught.histories._replace(asked=asked), MANY)
    assert error.value.reason == "too_many_moments"


def test_a_site_looks_at_what_it_is_asked_before_it_answers(network_of: Make, tmp_path: Path) -> None:
    sites = Asked(network_of())
    federate(sites, tmp_path / "run", config=SMALL | {"rounds": 1, "cotraining": QUICK})
    question = sites.last("label")
    histories = Histories.of(question.tensors)
    many = histories._replace(asked=pl.concat([histories.asked[:1]] * 20_000)).as_tensors()
    with pytest.raises(UpdateRefusedError, match="different moments"):
        sites._sites["north"].answer(question._replace(tensors=question.tensors | many))


@pytest.fixture
def lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever sites answer, it moves the hazards: so few answers would not."""

    def learn(network: Network, *_: object) -> None:
        with torch.no_grad():
            network.first_head.code_bias.bias += 0.1

    monkeypatch.setattr(coordinator, "learn", learn)


@pytest.mark.usefixtures("lessons")
def test_what_no_site_judged_is_not_kept(network_of: Make, tmp_path: Path) -> None:
    plain, config = SMALL | {"rounds": 1}, SMALL | {"rounds": 1, "cotraining": QUICK}
    federate(network_of(), tmp_path / "plain", config=plain)
    for is_told in (False, True):
        federate(Judged(network_of(), is_told=is_told), tmp_path / str(is_told), config=config)
    before, unjudged, better = (load_file(tmp_path / n / "model.safetensors") for n in ("plain", "False", "True"))
    assert all(np.array_equal(before[name], unjudged[name]) for name in before)
    assert any(not np.array_equal(before[name], better[name]) for name in before)


@pytest.mark.usefixtures("lessons")
def test_a_coordinator_that_is_killed_after_it_kept_what_was_taught_does_not_teach_it_again(
    network_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SMALL | {"rounds": 1, "cotraining": QUICK}
    federate(Judged(network_of(tmp_path / "sites-whole"), is_told=True), tmp_path / "whole", config=config)

    def fail(run: Path, settings: FederatedConfig, progress: Progress) -> None:
        if progress.is_cotrained:
            raise KeyboardInterrupt
        save_progress(run, settings, progress)

    monkeypatch.setattr(coordinator, "save_progress", fail)
    with pytest.raises(KeyboardInterrupt):
        federate(Judged(network_of(tmp_path / "sites"), is_told=True), tmp_path / "run", config=config)
    monkeypatch.setattr(coordinator, "save_progress", save_progress)
    summary = federate(Judged(network_of(tmp_path / "sites"), is_told=True), tmp_path / "run", config=config)
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(np.array_equal(whole[name], again[name]) for name in whole)
    assert summary.best_round == 1


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (np.zeros((5, 9), np.uint8), "wrong_shape"),
        (np.zeros((5, 4), np.float32), "wrong_type"),
        (np.full((5, 4), 99, np.uint8), "wrong_type"),
    ],
)
def test_an_answer_that_is_none_is_refused(answers: np.ndarray, reason: str, taught: Taught) -> None:
    with pytest.raises(UpdateRefusedError) as error:
        check_answers(Message("label", 0, {"answers": answers}), 5, taught.job, 12)
    assert error.value.reason == reason


def test_a_site_answers_only_if_the_manifest_said_so(network_of: Make) -> None:
    plain = propose("a job", read_federated(SMALL), ["north"])
    with pytest.raises(JobRefusedError) as error:
        check_question(plain, Message("label", 2), "north")
    assert error.value.reason == "kind_not_allowed"
    taught = propose("a job", read_federated(SMALL | {"cotraining": TEACH}), ["north"])
    check_question(taught, Message("label", 2), "north")


def test_privacy_and_co_training_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="cotraining"):
        read_federated(SMALL | {"cotraining": TEACH, "privacy": {"epsilon": 8}})
