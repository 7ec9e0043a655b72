"""Several processes learn what one learns."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from helpers.toy_process import SETTINGS, build_toy_store
from sojourn.errors import ConfigError
from sojourn.training.pretrain import pretrain
from sojourn.training.trainer import _own_shares

# Windows of up to 32 instants in steps of 64: some steps have fewer windows than there are processes.
SHORT = SETTINGS | {"max_steps": 20, "epochs": 100, "instants_per_batch": 64, "num_shares": 2, "thin_share": 0.2}


def losses_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in {"split", "seconds", "events_per_second"}} for line in lines]


def on_two(*command: str | Path) -> str:
    """Output of a Python command under torchrun, with two processes on this machine."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *map(str, command)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train_on_two(store: Path, run: Path, config: Path, *more: str) -> None:
    printed = on_two("-m", "sojourn", "pretrain", store, run, "--config", config, "--json", *more)
    assert json.loads(printed)["path"] == str(run)  # one process prints


@pytest.mark.slow
@pytest.mark.parametrize("cut_weights", [False, True])
def test_two_processes_give_the_losses_of_one(tmp_path: Path, cut_weights: bool) -> None:
    store = build_toy_store(tmp_path, num_subjects=60, seed=7)
    settings = SHORT | {"model": SETTINGS["model"] | {"dropout": 0.2}, "cut_weights": cut_weights}
    config = tmp_path / "pretrain.yaml"
    config.write_text(yaml.safe_dump(settings | {"max_steps": 10}))
    train_on_two(store, tmp_path / "two", config)
    config.write_text(yaml.safe_dump(settings))
    train_on_two(store, tmp_path / "two", config, "--resume")  # goes on from the checkpoint
    pretrain(store, tmp_path / "one", config=settings | {"max_steps": 10})
    pretrain(store, tmp_path / "one", config=settings, resume=True)
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert [line["step"] for line in one] == [10, 20, 20]
    assert len(two) == len(one)
    for mine, other in zip(two, one, strict=True):
        assert mine == pytest.approx(other, rel=1e-5, abs=2e-6)  # the log has six decimals
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-3, atol=1e-4)
    # Cut or whole, the checkpoint is the same: the other way goes on from it.
    config.write_text(yaml.safe_dump(settings | {"max_steps": 22, "cut_weights": not cut_weights}))
    train_on_two(store, tmp_path / "two", config, "--resume")
    assert losses_of(tmp_path / "two")[-1]["step"] == 22


@pytest.mark.slow
def test_each_process_holds_its_part_of_cut_weights(tmp_path: Path) -> None:
    store, config = build_toy_store(tmp_path, num_subjects=60, seed=7), tmp_path / "pretrain.yaml"
    config.write_text(yaml.safe_dump(SHORT | {"max_steps": 2, "cut_weights": True}))
    script = Path(__file__).parent.parent / "helpers" / "cut_network.py"
    weights, moments, all_weights, all_moments = map(float, on_two(script, store, tmp_path / "run", config).split())
    assert weights == pytest.approx(0.5, abs=0.02)  # some have an odd number of rows
    assert moments == pytest.approx(0.5, abs=0.02)
    assert (all_weights, all_moments) == pytest.approx((1.0, 1.0))


def test_one_process_has_nothing_to_cut(tmp_path: Path) -> None:
    store = build_toy_store(tmp_path, num_subjects=60, seed=7)
    settings = SETTINGS | {"max_steps": 2, "evaluate_every": 2}
    cut = pretrain(store, tmp_path / "cut", config=settings | {"cut_weights": True})
    assert cut.bits_per_event == pretrain(store, tmp_path / "plain", config=settings).bits_per_event


def test_shares_go_evenly_into_the_processes() -> None:
    assert [list(_own_shares(4, rank, 2)) for rank in (0, 1)] == [[0, 1], [2, 3]]
    with pytest.raises(ConfigError, match="Set num_shares: 2"):
        _own_shares(1, 0, 2)
