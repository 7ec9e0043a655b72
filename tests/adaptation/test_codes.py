"""A run that is taught the codes of another hospital."""

from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from helpers.toy_process import LACTATE, LOCAL_CODE, Row, build_toy_store, toy_record, write_toy_labels
from sojourn.adaptation.codes import ExtendReport, _order, extend
from sojourn.errors import ConfigError, RunError
from sojourn.events.splits import assign_splits
from sojourn.events.store import EventStore
from sojourn.inference.likelihood import likelihood
from sojourn.inference.predict import predict
from sojourn.model import Network
from sojourn.tasks.files import read_predictions
from sojourn.training.config import PretrainConfig
from sojourn.training.run import Run, code_table, save_settings, save_tensors, words_of


@pytest.fixture(scope="module")
def report(toy_run: Path, toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> ExtendReport:
    return extend(toy_run, toy_store, tmp_path_factory.mktemp("extended") / "run", sites=["west"])


def count_of(store: EventStore, code: str) -> int:
    """Events with a code at `west`, of the subjects that pre-training may read."""
    index, total = store.vocabulary["code"].to_list().index(code), 0
    for split in ("train", "tuning"):
        total += sum(int((store.subject(int(row)).code == index).sum()) for row in store.rows(split, ["west"]))
    return total


def test_the_code_that_only_one_hospital_uses_is_known_afterwards(report: ExtendReport, toy_store: Path) -> None:
    store, run = EventStore.open(toy_store), Run(Path(report.path))
    assert (report.num_codes, report.num_events) == (1, count_of(store, LOCAL_CODE))
    assert run.reader(store).translation.unknown.is_empty()
    row = run.vocabulary.table.row(run.vocabulary.index[LOCAL_CODE], named=True)
    assert row["loc"] == pytest.approx(10, abs=0.5)
    assert row["scale"] == pytest.approx(2, abs=0.8)  # quartiles on a grid of whole numbers
    assert row["count"] == 0
    assert run.vocabulary.table["index"].to_list() == list(range(len(run.vocabulary)))


PER_CODE = ("events.", "first_head.log_base", "code_head.recency.own")
WITH_END = ("code_head.bias", "code_head.can_emit", "code_head.site_bias", "code_head.panel.own")


def test_nothing_of_the_known_codes_changes(report: ExtendReport, toy_run: Path) -> None:
    before, after = Run(toy_run), Run(Path(report.path))
    place = torch.tensor([after.vocabulary.index[code] for code in before.vocabulary.table["code"]])
    old, new = before.network().state_dict(), after.network().state_dict()
    assert old.keys() == new.keys()
    num_codes = len(before.vocabulary)
    for name, tensor in old.items():
        if len(tensor) == num_codes and tensor.ndim and name.startswith(PER_CODE):
            assert torch.equal(new[name][place], tensor), name
        elif name.startswith(WITH_END):
            assert torch.equal(new[name][place], tensor[:-1]), name
            assert torch.equal(new[name][-1], tensor[-1]), name
        else:
            assert torch.equal(new[name], tensor), name
    codes = before.vocabulary.table["code"].to_list()
    kept = [code for code in after.vocabulary.table["code"] if code in before.vocabulary.index]
    assert kept == codes  # the canonical order inside an instant


@pytest.mark.parametrize("seed", range(30))
def test_new_codes_join_their_families_and_known_ones_keep_their_order(seed: int) -> None:
    """Families of a known vocabulary stand by number of events, or by name where an earlier version made it."""
    rng = np.random.default_rng(seed)
    names = [f"{family}//{i}" for family in rng.permutation([*"ABCDE"]) for i in range(9)]
    is_static = {family: bool(rng.random() < 0.3) for family in "ABCDE"}
    picked = [name for name in names if rng.random() < 0.3]
    known = ["//unknown", *sorted(picked, key=lambda name: not is_static[name[0]])]
    added = [name for name in names if name not in known and rng.random() < 0.5]
    codes = known + list(rng.permutation(added))
    statics = [is_static.get(code[0], False) for code in codes]
    found = [
        codes[i] for i in _order(pl.DataFrame({"code": codes, "target_only": False, "is_static": statics}), len(known))
    ]
    assert sorted(found) == sorted(codes)
    assert [code for code in found if code in known] == known
    kinds = [not is_static[code[0]] for code in found[1:]]
    assert kinds == sorted(kinds)
    runs = [family for family, _ in groupby(found[1:], key=lambda code: code[0])]
    assert len(runs) == len(set(runs))
    assert all(found.index(one) < found.index(two) for one, two in pairwise(sorted(found)) if one[0] == two[0])


def test_risks_of_patients_without_the_code_are_the_same(
    report: ExtendReport, toy_run: Path, toy_store: Path, tmp_path: Path
) -> None:
    subjects = EventStore.open(toy_store).subjects.filter(pl.col("site") == "north")[:40]
    asked = subjects.select("subject_id", prediction_time=pl.col("origin") + pl.duration(hours=4))
    labels = write_toy_labels(tmp_path / "labels.parquet", asked)
    risks = []
    for run in (toy_run, Path(report.path)):
        predict(run, toy_store, labels, tmp_path / f"{run.parent.name}.parquet")
        table = read_predictions(tmp_path / f"{run.parent.name}.parquet").table
        risks.append(table["predicted_boolean_probability"].to_numpy())
    np.testing.assert_allclose(risks[0], risks[1], rtol=1e-5)


def test_the_new_run_scores_records_with_the_code(report: ExtendReport, toy_store: Path, tmp_path: Path) -> None:
    lines = likelihood(Path(report.path), toy_store, tmp_path / "likelihood.json")
    assert all(np.isfinite(line.bits_per_event) for line in lines)


def test_the_same_call_finds_its_work_and_another_one_refuses(
    report: ExtendReport, toy_run: Path, toy_store: Path
) -> None:
    again = extend(toy_run, toy_store, Path(report.path), sites=["west"])
    assert again.was_finished
    assert again.num_codes == 1
    with pytest.raises(RunError, match="same call"):
        extend(toy_run, toy_store, Path(report.path))


def test_what_cannot_be_done_is_said(toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        extend(toy_run, toy_store, tmp_path / "run", sites=["nowhere"])
    with pytest.raises(ConfigError, match="lacks"):
        extend(toy_run, toy_store, tmp_path / "run", sites=["north"])
    assert LACTATE in Run(toy_run).vocabulary.index or "CONCEPT//lactate" in Run(toy_run).vocabulary.index
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def words_run(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run like the toy run whose network reads words; its weights are random."""
    base, path = Run(toy_run), tmp_path_factory.mktemp("words") / "run"
    model = {**base.settings["config"]["model"], "num_word_features": 32}
    settings = {**base.settings, "config": {**base.settings["config"], "model": model}}
    hazard = base.network().first_head.log_base
    codes = code_table(base.vocabulary, hazard, words_of(base.vocabulary, 32))
    torch.manual_seed(1)
    network = Network(PretrainConfig.model_validate(settings["config"]).network(), codes, len(base.sites))
    torch.nn.init.normal_(network.events.code.weight)
    path.mkdir()
    base.vocabulary.save(path / "vocabulary.parquet")
    save_settings(path, settings)
    save_tensors(path / "model.safetensors", network.state_dict())
    return path


def test_a_network_that_reads_words_knows_a_new_code_by_them_alone(
    words_run: Path, toy_store: Path, tmp_path: Path
) -> None:
    found = extend(words_run, toy_store, tmp_path / "run", sites=["west"])
    assert found.num_codes == 1
    run, before = Run(tmp_path / "run"), Run(words_run)
    events, index = run.network().events, run.vocabulary.index[LOCAL_CODE]
    assert events.say is not None
    assert (events.code.weight[index] == 0).all()
    assert (events.gate.weight[index] == 0).all()
    said = events.say(events.words[index])[:16]
    torch.testing.assert_close(events.codes()[index], said)
    assert events.words[index].norm() > 0.1
    torch.testing.assert_close(events.words, words_of(run.vocabulary, 32))  # nothing is stored that words do not give
    place = torch.tensor([run.vocabulary.index[code] for code in before.vocabulary.table["code"]])
    assert torch.equal(events.codes()[place], before.network().events.codes())
    lines = likelihood(tmp_path / "run", toy_store)
    assert all(np.isfinite(line.bits_per_event) for line in lines)


def test_what_is_added_has_events_of_its_own_and_held_out_subjects_are_not_read(toy_run: Path, tmp_path: Path) -> None:
    """Rare codes of one parent, which is no code of the store; and one that only held-out subjects have."""
    rows: list[Row] = []
    for subject in range(1, 101):
        record = toy_record(subject, "west", 0)
        (split,) = assign_splits(np.array([subject]))
        code = "LAB//late//u" if split == "held_out" else f"LAB//rare//{subject % 50}"
        rows += [*record, *((subject, record[-1][1], code, 1.0, "west") for _ in range(2))]
    store = build_toy_store(tmp_path, num_subjects=0, rows=rows)
    report = extend(toy_run, store, tmp_path / "run", sites=["west"], min_count=10)
    added = set(Run(tmp_path / "run").vocabulary.index) - set(Run(toy_run).vocabulary.index)
    assert added == {LOCAL_CODE}
    assert (report.num_codes, report.num_events) == (1, count_of(EventStore.open(store), LOCAL_CODE))


def test_codes_without_a_single_event_cannot_be_asked_for(toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="min_count must be at least 1; got 0"):
        extend(toy_run, toy_store, tmp_path / "run", min_count=0)
