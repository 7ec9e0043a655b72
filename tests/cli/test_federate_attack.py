"""`sojourn federate attack`, as a hospital would type it on simulated records."""

from pathlib import Path

import pytest
import yaml

import sojourn as sj
from helpers.command import call
from helpers.toy_process import SETTINGS
from sojourn.sources.simulator.network import default_config, write_config


def test_a_planned_training_is_attacked_and_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    network = default_config(num_sites=1, stays_per_site=90, seed=3)
    truth = network.truth.model_copy(update={"max_stays": 1, "states": False, "num_replicates": 2})
    write_config(network.model_copy(update={"truth": truth}), tmp_path / "simulator.yaml")
    sj.ingest("simulator", tmp_path / "simulator.yaml", tmp_path / "meds")
    planned = {"rounds": 1, "local_steps": 1, "min_cell": 2, "pretrain": SETTINGS | {"instants_per_batch": 128}}
    (tmp_path / "planned.yaml").write_text(yaml.safe_dump(planned))
    options = ["--site", "hospital-1", "--config", tmp_path / "planned.yaml", "--epsilon", "0", "--canaries", "10"]
    done = call(capsys, "federate", "attack", tmp_path / "out", tmp_path / "meds", *options)
    assert done.code == 0, done.err
    assert "without noise" in done.out
    assert "Who was trained on?" in (tmp_path / "out" / "attacks.html").read_text()
    nowhere = call(capsys, "federate", "attack", tmp_path / "other", tmp_path / "meds", "--site", "nowhere")
    assert nowhere.code == 1
    assert "'nowhere' is not" in nowhere.err
