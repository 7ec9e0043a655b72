"""Whole trainings over toy hospitals: they learn, resume, refuse, and send no record."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from federated.conftest import SMALL
from sojourn.errors import FederationError, RunError, UpdateRefusedError
from sojourn.events.store import EventStore
from sojourn.federated.coordinator import federate
from sojourn.federated.finish import rounds_of
from sojourn.federated.messages import CONTROL, SQUARES, Message, Refusal, pack
from sojourn.federated.personal import is_personal
from sojourn.federated.privacy.budget import set_budget
from sojourn.federated.privacy.release import CODE_TABLES
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.training.folder import held
from sojourn.training.run import Run

Make = Callable[..., InProcess]
STRATEGIES = ("fedavg", "fedprox", "fedadam", "fedyogi", "diloco", "scaffold", "daisy")


def lines(run: Path, split: str) -> list[dict[str, Any]]:
    return [x for x in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if x["split"] == split]


class Changed:
    """A transport that lets a test change or record what passes."""

    def __init__(self, inner: InProcess, change: Callable[[str, Message], Message | Refusal]) -> None:
        self.inner, self.change = inner, change

    @property
    def sites(self) -> tuple[str, ...]:
        return self.inner.sites

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        for site, answer in self.inner.ask(requests, timeout_s=timeout_s):
            yield site, answer if isinstance(answer, Refusal) else self.change(site, answer)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_learns(name: str, network_of: Make, tmp_path: Path) -> None:
    summary = federate(network_of(), tmp_path / "run", config=SMALL | {"strategy": {"name": name}})
    tuning = [line["bits_per_event"] for line in lines(tmp_path / "run", "tuning")]
    assert min(tuning) == pytest.approx(summary.bits_per_event, rel=1e-5)
    assert tuning[-1] < tuning[0]
    assert summary.refused == 0
    assert Run(tmp_path / "run").network() is not None


def test_settling_rounds_make_one_step_each(network_of: Make, tmp_path: Path) -> None:
    told: list[float] = []

    def record(_: str, answer: Message) -> Message:
        if answer.kind == "train":
            told.append(answer.numbers["steps"])
        return answer

    config = SMALL | {"rounds": 4, "settling_rounds": 2, "strategy": {"name": "diloco"}}
    summary = federate(Changed(network_of(), record), tmp_path / "run", config=config)
    assert summary.rounds == 4
    assert told[6:] == [1.0] * 6
    assert max(told[:6]) > 1
    tuning = [line["bits_per_event"] for line in lines(tmp_path / "run", "tuning")]
    assert tuning[-1] < tuning[1]


@pytest.mark.parametrize("strategy", ["diloco", "scaffold"])
def test_half_of_the_bytes_teach_as_much(strategy: str, network_of: Make, tmp_path: Path) -> None:
    config = SMALL | {"strategy": {"name": strategy}}
    whole = federate(network_of(), tmp_path / "whole", config=config)
    half = federate(network_of(), tmp_path / "half", config=config | {"send_as": "float16"})
    before = lines(tmp_path / "whole", "tuning")[0]["bits_per_event"]
    assert half.bits_per_event == pytest.approx(whole.bits_per_event, abs=0.02 * (before - whole.bits_per_event))
    assert half.refused == 0
    # What is agreed on before the first round travels as it is.
    assert 0.5 < half.megabytes / whole.megabytes < 0.6


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_two_trainings_in_one_folder_are_refused(network_of: Make, tmp_path: Path) -> None:
    """Each would go on from what the other, and its sites, have half written."""
    run = tmp_path / "run"
    with held(run), pytest.raises(RunError, match="another process trains"):
        federate(network_of(), run, config=SMALL)
    assert not list(run.iterdir())


def test_the_run_of_one_training_is_the_same_each_time(network_of: Make, tmp_path: Path) -> None:
    for name in ("one", "two"):
        federate(network_of(), tmp_path / name, config=SMALL)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("strategy", ["diloco", "scaffold"])
def test_an_interrupted_training_goes_on_to_the_same_weights(strategy: str, network_of: Make, tmp_path: Path) -> None:
    """The coordinator and every site are lost in the middle of round 3; what is on disk is enough."""
    config = SMALL | {"rounds": 4, "strategy": {"name": strategy}, "personal": True}
    federate(network_of(tmp_path / "sites-whole"), tmp_path / "whole", config=config)

    def fail(site: str, answer: Message) -> Message:
        if answer.kind == "train" and answer.round == 2 and site == "south":
            raise KeyboardInterrupt
        return answer

    with pytest.raises(KeyboardInterrupt):
        federate(Changed(network_of(tmp_path / "sites"), fail), tmp_path / "run", config=config)
    assert len(lines(tmp_path / "run", "tuning")) == 2
    summary = federate(network_of(tmp_path / "sites"), tmp_path / "run", config=config)
    assert summary.rounds == 4
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(RunError, match="same settings"):
        federate(network_of(), tmp_path / "run", config=config | {"local_steps": 2})


@pytest.mark.parametrize(
    ("factor", "reason"),
    [(np.nan, "not_finite"), (100.0, "too_large"), ("shape", "wrong_shape"), ("name", "wrong_names")],
)
def test_a_site_with_a_bad_update_is_left_out_with_its_reason(
    factor: Any, reason: str, network_of: Make, tmp_path: Path
) -> None:
    def spoil(site: str, answer: Message) -> Message:
        if (site, answer.kind, answer.round) != ("south", "train", 1):
            return answer
        if factor == "shape":
            return answer._replace(tensors={name: tensor[None] for name, tensor in answer.tensors.items()})
        if factor == "name":
            return answer._replace(tensors={f"{name}2": tensor for name, tensor in answer.tensors.items()})
        return answer._replace(tensors={name: tensor * factor for name, tensor in answer.tensors.items()})

    summary = federate(Changed(network_of(), spoil), tmp_path / "run", config=SMALL)
    refused = [json.loads(line) for line in (tmp_path / "run" / "refusals.jsonl").read_text().splitlines()]
    assert [(line["site"], line["round"], line["reason"]) for line in refused] == [("south", 2, reason)]
    assert summary.refused == 1
    assert [line["sites"] for line in lines(tmp_path / "run", "train")] == [3, 2, 3]
    assert all(weight.isfinite().all() for weight in Run(tmp_path / "run").network().parameters())


def test_a_training_stops_when_too_few_sites_answer(network_of: Make, tmp_path: Path) -> None:
    def lose(site: str, answer: Message) -> Message | Refusal:
        return Refusal("unreachable") if answer.kind == "train" and site != "north" else answer

    with pytest.raises(FederationError, match="at least 2 sites; got 1"):
        federate(Changed(network_of(), lose), tmp_path / "run", config=SMALL | {"min_sites": 2})


def test_the_policy_part_never_leaves_a_site_under_fedfactor(network_of: Make, tmp_path: Path) -> None:
    seen: list[Message] = []

    def record(site: str, answer: Message) -> Message:
        seen.append(answer)
        return answer

    sites = network_of(tmp_path / "sites")
    federate(Changed(sites, record), tmp_path / "run", config=SMALL | {"personal": True})
    updates = [answer for answer in seen if answer.kind == "train"]
    assert len(updates) == 9
    assert all(answer.numbers.keys() == {"steps"} for answer in updates)  # and no loss, which has no minimum cell
    assert not any(is_personal(name) for answer in updates for name in answer.tensors)
    (place,) = (tmp_path / "sites" / "north").glob("*/state-2.safetensors")
    own = load_file(place)
    assert any(is_personal(name.removeprefix("personal/")) for name in own)


def test_no_row_identifier_or_date_is_in_what_is_sent(network_of: Make, toy_store: EventStore, tmp_path: Path) -> None:
    """Every byte that leaves a site is searched for ids and times as integers, text and floats.

    Nothing that leaves is compressed, so that what is not found is not there.
    """
    sent: list[bytes] = []
    counts: list[np.ndarray] = []

    def record(site: str, answer: Message) -> Message:
        sent.append(pack(answer))
        if answer.kind == "survey":
            counts.append(answer.tensors["bins.count"])
        return answer

    federate(Changed(network_of(), record), tmp_path / "run", config=SMALL)
    everything = b"".join(sent)
    assert all(count.tobytes() in everything for count in counts)  # a run of numbers that was sent is found
    assert b"MEDS_DEATH" in everything  # and so is a word
    origins = toy_store.subjects["origin"].unique()
    needles = [str(origin).encode() for origin in origins] + [str(o.date()).encode() for o in origins]
    needles += [int(value).to_bytes(8, "little") for value in origins.to_physical()]
    ids = toy_store.subjects["subject_id"].to_numpy()
    needles += [np.roll(ids, -k)[:6].tobytes() for k in range(0, len(ids), 7)]
    assert len(needles) > 3
    assert not any(needle in everything for needle in needles)
    assert b"subject_id" not in everything
    # A record's run of values or seconds would be a run of bytes, in the store's type or in that of a sent column.
    for row in range(0, len(toy_store), 7):
        subject = toy_store.subject(row)
        for array in (subject.seconds, subject.value, subject.code):
            for wide in (array.dtype, np.int64, np.uint32, np.float32, np.float64):
                assert np.nan_to_num(array)[:6].astype(wide).tobytes() not in everything


def test_patients_who_objected_change_nothing(toy_store: EventStore, tmp_path: Path) -> None:
    """Nothing of them is read in the training."""
    names = sorted(toy_store.subjects["site"].unique())
    rows = toy_store.rows(split="train", sites=["north"])
    ids = toy_store.subjects["subject_id"].gather(rows[:5]).to_list()
    site = Site("north", toy_store, left_out=ids)
    others = {name: Site(name, toy_store) for name in names if name != "north"}
    federate(InProcess({"north": site} | others), tmp_path / "run", config=SMALL)
    trainer, _ = site._opened()
    assert not set(toy_store.subjects["subject_id"].gather(trainer.rows.train)) & set(ids)
    assert len(trainer.rows.train) == len(rows) - 5


def test_a_store_is_no_folder_for_a_run(network_of: Make, toy_store: EventStore, tmp_path: Path) -> None:
    shutil.copytree(toy_store.path, tmp_path / "store")
    before = (tmp_path / "store" / "vocabulary.parquet").read_bytes()
    with pytest.raises(RunError, match="something else"):
        federate(network_of(), tmp_path / "store", config=SMALL)
    assert (tmp_path / "store" / "vocabulary.parquet").read_bytes() == before


def with_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Message], Message]:
    """Changes one array of an answer."""
    return lambda answer: answer._replace(tensors=answer.tensors | {name: change(answer.tensors[name])})


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("survey", lambda a: a._replace(tensors={}), "malformed"),
        ("survey", lambda a: a._replace(numbers={"num_subjects": 1e12}), "malformed"),
        ("survey", with_array("codes.code", lambda codes: codes + np.uint32(1)), "malformed"),
        ("survey", with_array("codes.code.words", lambda text: text | np.uint8(128)), "malformed"),
        ("survey", with_array("codes.events", lambda events: events.astype(np.float64)), "malformed"),
        ("hazards", lambda a: a._replace(tensors={n: t[1:] for n, t in a.tensors.items()}), "wrong_shape"),
        ("hazards", lambda a: a._replace(tensors={n: t * np.nan for n, t in a.tensors.items()}), "not_finite"),
        ("hazards", lambda a: a._replace(tensors={n: t - 1e6 for n, t in a.tensors.items()}), "negative"),
        ("evaluate", lambda a: a._replace(numbers={"events": 5.0}), "wrong_names"),
        ("evaluate", lambda a: a._replace(numbers=dict(a.numbers) | {"nats_code": -1e9}), "negative"),
        ("evaluate", lambda a: a._replace(numbers=dict(a.numbers) | {"query_nats": -1e6}), "impossible"),
    ],
)
def test_no_answer_of_one_site_ends_or_leads_a_training(
    kind: str, change: Callable[[Message], Message], reason: str, network_of: Make, tmp_path: Path
) -> None:
    def spoil(site: str, answer: Message) -> Message:
        return change(answer) if (site, answer.kind) == ("south", kind) else answer

    summary = federate(Changed(network_of(), spoil), tmp_path / "run", config=SMALL)
    refused = [json.loads(line) for line in (tmp_path / "run" / "refusals.jsonl").read_text().splitlines()]
    assert {(line["site"], line["reason"]) for line in refused} == {("south", reason)}
    assert summary.rounds == SMALL["rounds"]
    assert 0 < summary.bits_per_event < 30


def test_an_update_that_outgrows_those_before_it_is_refused_of_a_single_site(
    toy_store: EventStore, tmp_path: Path
) -> None:
    alone = InProcess({"north": Site("north", toy_store)})

    def grow(site: str, answer: Message) -> Message:
        is_late = answer.kind == "train" and answer.round == 2
        return answer._replace(tensors={n: 1e4 * t for n, t in answer.tensors.items()}) if is_late else answer

    with pytest.raises(FederationError, match="got 0"):
        federate(Changed(alone, grow), tmp_path / "run", config=SMALL)
    assert "too_large" in (tmp_path / "run" / "refusals.jsonl").read_text()


def test_a_site_that_missed_the_start_joins_in_the_next_round(network_of: Make, tmp_path: Path) -> None:
    lost: list[str] = []

    def lose(site: str, answer: Message) -> Message | Refusal:
        if (site, answer.kind) == ("south", "start") and not lost:
            lost.append(site)
            return Refusal("unreachable")
        return answer

    federate(Changed(network_of(), lose), tmp_path / "run", config=SMALL)
    assert lost
    assert [line["sites"] for line in lines(tmp_path / "run", "train")] == [3, 3, 3]


def test_a_coordinator_that_is_killed_before_the_first_round_asks_the_same(network_of: Make, tmp_path: Path) -> None:
    """Another question about hazards would not be answered: the difference of two would tell of a few."""
    asked: list[bytes] = []

    class Watched(InProcess):
        def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
            asked.extend(pack(request) for request in requests.values() if request.kind == "hazards")
            if len(asked) == 3:
                raise KeyboardInterrupt
            return super().ask(requests, timeout_s=timeout_s)

    watched = Watched(network_of()._sites)
    with pytest.raises(KeyboardInterrupt):
        federate(watched, tmp_path / "run", config=SMALL)
    asked.append(asked[0])
    federate(watched, tmp_path / "run", config=SMALL)
    assert len(asked) == 7
    assert len(set(asked)) == 1


def test_the_best_weights_stay_where_no_site_judges_the_last(network_of: Make, tmp_path: Path) -> None:
    def lose(site: str, answer: Message) -> Message | Refusal:
        return Refusal("unreachable") if answer.kind == "evaluate" and answer.round == 2 else answer

    summary = federate(Changed(network_of(), lose), tmp_path / "run", config=SMALL)
    assert summary.best_round == 2
    assert rounds_of(tmp_path / "run") == 2


def test_the_last_weights_are_those_of_a_run_that_no_site_judges(network_of: Make, tmp_path: Path) -> None:
    def lose(site: str, answer: Message) -> Message | Refusal:
        return Refusal("unreachable") if answer.kind == "evaluate" else answer

    federate(Changed(network_of(), lose), tmp_path / "run", config=SMALL)
    assert rounds_of(tmp_path / "run") == 3


def test_a_round_that_a_hard_site_missed_is_not_the_best_for_that(network_of: Make, tmp_path: Path) -> None:
    def harden(site: str, answer: Message) -> Message | Refusal:
        if answer.kind != "evaluate" or site != "west":
            return answer
        if answer.round == 0:
            return Refusal("unreachable")
        return answer._replace(numbers=dict(answer.numbers) | {"nats_gap": 30 * answer.numbers["events"]})

    summary = federate(Changed(network_of(), harden), tmp_path / "run", config=SMALL)
    assert summary.best_round > 1
    assert [line["sites"] for line in lines(tmp_path / "run", "tuning")] == [1, 2, 2]  # north has too few to tell


def test_a_training_of_an_earlier_version_says_so(network_of: Make, tmp_path: Path) -> None:
    federate(network_of(), tmp_path / "run", config=SMALL | {"rounds": 1})
    place = tmp_path / "run" / "checkpoints" / "federated.safetensors"
    with safe_open(place, "np") as file:
        header = file.metadata()
    said = json.loads(header["progress"])
    said["best"] = said.pop("best_told") and 1.0
    save_file(load_file(place), place, header | {"progress": json.dumps(said)})
    with pytest.raises(RunError, match="an earlier one began"):
        federate(network_of(), tmp_path / "run", config=SMALL | {"rounds": 1})


class Asked(InProcess):
    """Sites that remember what they were asked."""

    def __init__(self, sites: InProcess) -> None:
        super().__init__(sites._sites)
        self.questions: list[Message] = []

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        self.questions.extend(requests.values())
        return super().ask(requests, timeout_s=timeout_s)

    def last(self, kind: str) -> Message:
        return [question for question in self.questions if question.kind == kind][-1]


def test_a_site_refuses_weights_that_are_not_its_networks(network_of: Make, tmp_path: Path) -> None:
    sites = Asked(network_of(tmp_path / "sites"))
    federate(sites, tmp_path / "run", config=SMALL)
    site, question = sites._sites["north"], sites.last("train")
    weights = question.tensors
    for changed, reason in (
        (weights | {"start": weights["start"] * np.nan}, "not_finite"),
        (weights | {"start": weights["start"][1:]}, "wrong_shape"),
        (weights | {"other": weights["start"]}, "wrong_names"),
        (weights | {CONTROL + "start": weights["start"]}, "wrong_names"),  # SCAFFOLD's, which it is not
        ({name: weight for name, weight in weights.items() if name != SQUARES + "start"}, "wrong_names"),
    ):
        with pytest.raises(UpdateRefusedError) as caught:
            site.answer(question._replace(tensors=changed))
        assert caught.value.reason == reason
    with pytest.raises(FederationError, match="must hold config"):
        site.answer(Message("start", 0))
    assert site.answer(question).kind == "train"  # nothing was lost by what was refused


@pytest.mark.parametrize("kind", ["train", "evaluate", "label", "validate", "exposure"])
def test_no_question_reaches_the_part_that_stays_at_a_site(kind: str, network_of: Make, tmp_path: Path) -> None:
    """With its names and zeros, an answer would hold the site's own weights; without a shared one it would be kept."""
    taught = {"cotraining": {"patients": 10, "moments_per_patient": 1, "local_steps": 1, "horizon_hours": 12}}
    sites = Asked(network_of())
    federate(sites, tmp_path / "run", config=SMALL | {"rounds": 1, "local_steps": 1, "personal": True} | taught)
    site = sites._sites["north"]
    own = site.memory.before(1).personal
    assert own
    question = sites.last(kind) if kind in {"train", "label"} else sites.last("evaluate")._replace(kind=kind)
    shared = dict(question.tensors)
    less = {name: tensor for name, tensor in shared.items() if name != "start"}
    for tensors in (shared | {name: np.zeros_like(weight) for name, weight in own.items()}, less):
        with pytest.raises(UpdateRefusedError) as caught:
            site.answer(question._replace(tensors=tensors))
        assert caught.value.reason == "wrong_names"
    assert site.memory.before(1).personal.keys() == own.keys()


def test_under_scaffold_nothing_of_rare_codes_leaves_a_site(toy_store: EventStore, tmp_path: Path) -> None:
    sent: list[Message] = []

    def record(site: str, answer: Message) -> Message:
        sent.append(answer)
        return answer

    sites = {name: Site(name, toy_store) for name in sorted(toy_store.subjects["site"].unique())}
    config = SMALL | {"strategy": {"name": "scaffold"}, "min_cell": 12}
    federate(Changed(InProcess(sites), record), tmp_path / "run", config=config)
    updates = [answer for answer in sent if answer.kind == "train"]
    assert len(updates) == 9
    # Sites answer in the order of their names.
    for update, site in zip(updates, [*sites.values()] * 3, strict=True):
        told = site._opened()[0].is_told
        assert not told.all()
        for name in CODE_TABLES:
            for part in ("", CONTROL, SQUARES):
                assert not update.tensors[part + name][: len(told)][~told].any()


class Told(Changed):
    """Keeps what the sites were sent to train with."""

    def __init__(self, inner: InProcess, change: Callable[[str, Message], Message | Refusal]) -> None:
        super().__init__(inner, change)
        self.sent: list[Message] = []

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        self.sent += [message for message in requests.values() if message.kind == "train"]
        return super().ask(requests, timeout_s=timeout_s)


def test_under_scaffold_corrections_cancel_though_an_answer_was_not_used(network_of: Make, tmp_path: Path) -> None:
    """Control variates that were kept at the sites went on without the coordinator, for good."""

    def spoil(site: str, answer: Message) -> Message | Refusal:
        if answer.kind != "train" or (site, answer.round) not in (("west", 1), ("south", 2)):
            return answer
        if site == "west":
            return Refusal("unreachable")
        return answer._replace(tensors={name: tensor * np.nan for name, tensor in answer.tensors.items()})

    network = Told(network_of(), spoil)
    config = SMALL | {"rounds": 5, "strategy": {"name": "scaffold"}}
    assert federate(network, tmp_path / "run", config=config).refused == 2
    for round_ in range(1, 5):
        sent = [message.tensors for message in network.sent if message.round == round_]
        assert len(sent) == 3
        names = [name for name in sent[0] if name.startswith(CONTROL)]
        left = max(float(np.abs(sum(tensors[name] for tensors in sent)).max()) for name in names)
        most = max(float(np.abs(tensors[name]).max()) for tensors in sent for name in names)
        assert left < 1e-5 * most


def test_a_training_leaves_what_an_earlier_one_left_at_a_site(network_of: Make, tmp_path: Path) -> None:
    sites = network_of(tmp_path / "sites")
    federate(sites, tmp_path / "one", config=SMALL | {"personal": True})
    before = {path: path.read_bytes() for path in (tmp_path / "sites").rglob("state-*.safetensors")}
    assert before
    federate(sites, tmp_path / "two", config=SMALL | {"personal": True, "local_steps": 2})
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_survey_of_too_few_sites_is_asked_again(network_of: Make, tmp_path: Path) -> None:
    """Who is away for the survey takes no part: with too few, nothing must be fixed yet."""
    away = {"south"}

    def change(site: str, answer: Message) -> Message | Refusal:
        return Refusal("unreachable", "[/x]") if site in away and answer.kind == "survey" else answer

    config = SMALL | {"min_sites": 3}
    sites = Changed(network_of(), change)
    with pytest.raises(FederationError, match="survey must have usable answers of at least 3"):
        federate(sites, tmp_path / "run", config=config)
    away.clear()
    assert federate(sites, tmp_path / "run", config=config).sites == ("north", "south", "west")


def test_a_reason_that_is_no_word_does_not_stop_the_training(network_of: Make, tmp_path: Path) -> None:
    def change(site: str, answer: Message) -> Message | Refusal:
        return Refusal("[/x]", "") if site == "south" and answer.kind == "train" else answer

    assert federate(Changed(network_of(), change), tmp_path / "run", config=SMALL).refused == 3


def test_weights_that_no_loss_touches_have_no_mean_square_to_share(network_of: Make, tmp_path: Path) -> None:
    config = SMALL | {"pretrain": SMALL["pretrain"] | {"num_value_queries": 0}}
    assert federate(network_of(), tmp_path / "run", config=config).rounds == 3


def test_a_limit_on_epsilon_lets_no_training_without_noise_happen(network_of: Make, tmp_path: Path) -> None:
    for name in ("north", "south", "west"):
        (tmp_path / name).mkdir()
        set_budget(tmp_path / name, 0.0)
    with pytest.raises(FederationError, match="usable answers"):
        federate(network_of(tmp_path), tmp_path / "run", config=SMALL)
    told = [json.loads(line) for line in (tmp_path / "run" / "refusals.jsonl").read_text().splitlines()]
    assert all("without noise" in line["detail"] for line in told)
