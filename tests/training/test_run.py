"""What the network is told of the codes, and opening a run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from sojourn.errors import RunError
from sojourn.events.store import EventStore
from sojourn.training.batches import collate, pack, whole_records
from sojourn.training.records import RecordReader
from sojourn.training.run import Run, code_table, words_of


def test_codes_are_described_by_what_they_showed_in_training(worked: RecordReader) -> None:
    vocabulary = worked.vocabulary
    codes = code_table(vocabulary, torch.zeros(len(vocabulary), 19))
    hr, lactate = vocabulary.index["CONCEPT//heart_rate"], vocabulary.index["CONCEPT//lactate"]
    assert codes.value_share[hr].item() == pytest.approx((5 + 0.5) / (6 + 1))  # one heart rate of six has no value
    assert codes.loc[hr].item() == 80.0
    assert (codes.tick[hr].item(), codes.tick[lactate].item()) == (1.0, pytest.approx(0.1))
    assert not codes.can_emit[[vocabulary.index[c] for c in ("GENDER//F", "OUTCOME//sepsis")]].any()
    assert codes.can_emit[[hr, lactate, 0]].all()


def test_share_with_a_value_is_below_one_for_codes_that_stand_for_many(toy_reader: RecordReader) -> None:
    """The values of an `//unknown` are those of all codes below it, and so must its events be."""
    vocabulary = toy_reader.vocabulary
    share = code_table(vocabulary, torch.zeros(len(vocabulary), 19)).value_share.numpy()
    assert ((share > 0) & (share < 1)).all()
    everything = toy_reader.read(toy_reader.store.rows(split="train")).all_events
    with_value = np.mean(~np.isnan(everything.value))
    assert share[0] == pytest.approx(with_value, abs=0.1)  # static facts are counted too


def test_tick_and_scale_are_positive(toy_reader: RecordReader) -> None:
    codes = code_table(toy_reader.vocabulary, torch.zeros(len(toy_reader.vocabulary), 19))
    assert (codes.tick > 0).all()
    assert (codes.scale > 0).all()
    assert torch.isfinite(codes.loc).all()


def test_a_run_is_opened_with_what_it_was_trained_with(toy_run: Path, toy_store: Path) -> None:
    run = Run(toy_run)
    assert run.sites == ["north", "south"]
    network = run.network()
    assert not network.training
    one, two, other = (run.network(random_weights_seed=seed) for seed in (3, 3, 4))
    weight = "gap_head.out.weight"
    assert torch.equal(one.state_dict()[weight], two.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], other.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], network.state_dict()[weight])
    west = EventStore.open(toy_store).rows(sites=["west"])[:3]
    assert run.reader(EventStore.open(toy_store)).read(west).site.tolist() == [0, 0, 0]
    assert run.metrics()[-1]["split"] == "tuning"


def test_discharges_end_the_records_of_a_run_that_never_learnt_how_often(
    toy_run: Path, toy_store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(toy_run, run)
    weights = safetensors.torch.load_file(toy_run / "model.safetensors")
    earlier = {
        name: weight
        for name, weight in weights.items()
        if not name.startswith(("gap_head.ends.", "gap_head.knows_ends"))
    }
    assert len(earlier) == len(weights) - 3
    safetensors.torch.save_file(earlier, run / "model.safetensors")
    network = Run(run).network()
    assert torch.sigmoid(network.gap_head.end_logit(torch.randn(5, 32), torch.randn(5, 16))).min() > 0.999999
    assert torch.equal(network.gap_head.out.weight, weights["gap_head.out.weight"])
    # Its likelihood says nothing of ends, and a run that is made of it does not either.
    records = Run(run).reader(EventStore.open(toy_store)).read(np.arange(40))
    windows = whole_records(records, 32)
    batch = collate(records, windows, pack(windows))
    assert batch.survival.isinf().any()
    nothing = batch._replace(may_end=torch.zeros_like(batch.may_end), survival=batch.survival.nan_to_num(posinf=0.0))
    with torch.no_grad():
        assert torch.equal(network.log_prob(batch).gap, network.log_prob(nothing).gap)
        assert not torch.equal(Run(toy_run).network().log_prob(batch).gap, network.log_prob(nothing).gap)
    assert not network.state_dict()["gap_head.knows_ends"]


def test_a_folder_without_a_trained_run_is_refused(tmp_path: Path, toy_store: Path) -> None:
    for place in (tmp_path, toy_store):
        with pytest.raises(RunError, match="sojourn pretrain"):
            Run(place)


def test_damaged_settings_or_weights_are_said_to_be_so(toy_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(toy_run, run)
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(RunError, match=r"model\.safetensors .* damaged"):
        Run(run).network()
    weights = safetensors.torch.load_file(toy_run / "model.safetensors")
    safetensors.torch.save_file({f"other.{k}": v for k, v in weights.items()}, run / "model.safetensors")
    with pytest.raises(RunError, match="must fit the network"):
        Run(run).network()
    for content in ("seed: 1", "a: [", ""):
        (run / "run.yaml").write_text(content)
        with pytest.raises(RunError, match=r"run\.yaml .* damaged"):
            Run(run)


def test_words_are_read_only_where_the_settings_say_so(toy_reader: RecordReader) -> None:
    vocabulary = toy_reader.vocabulary
    assert words_of(vocabulary, 0) is None
    x = words_of(vocabulary, 16)
    assert x is not None
    assert x.shape == (len(vocabulary), 16)
    assert code_table(vocabulary, torch.zeros(len(vocabulary), 19)).words is None
    assert code_table(vocabulary, torch.zeros(len(vocabulary), 19), x).words is x
