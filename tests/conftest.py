"""Fixtures that every room's tests share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

# The networks of the tests are small: threads would cost more than they save, most of all beside another test process.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sojourn_data() -> Path:
    """The folder of open data sets; tests that need it are skipped, with the reason, where it is not set."""
    place = os.environ.get("SOJOURN_DATA")
    if not place:
        pytest.skip("SOJOURN_DATA is not set: the open data sets are not on this machine")
    return Path(place)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A copy of a folder that the first of the test processes makes; the others wait for it."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    whole = (factory.getbasetemp().parent if is_worker else factory.getbasetemp()) / f"{name}-made-once"
    with FileLock(f"{whole}.lock"):
        if not (whole / "done").exists():
            make(whole)
            (whole / "done").touch()
    own = factory.mktemp(name) / name
    shutil.copytree(whole, own)
    return own


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 2,000 patients of the toy process at three sites."""
    from helpers.toy_process import build_toy_store

    return made_once(tmp_path_factory, "toy", lambda folder: build_toy_store(folder, num_subjects=2000)) / "store"


@pytest.fixture(scope="session")
def toy_run(toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt the toy process, but has never seen its site `west`."""
    from helpers.toy_process import SETTINGS
    from sojourn.training.pretrain import pretrain

    names = ("OUTCOME//death", "OUTCOME//hospital_death", "OUTCOME//lactate_gt_4", "HOSPITAL_DISCHARGE//ALIVE")
    longer = {"max_steps": 220, "epochs": 100, "evaluate_every": 110, "learning_rate": 5e-3, "tuning_subjects": 200}
    config = SETTINGS | longer | {"held_out_sites": ["west"], "outcomes": names}
    made = made_once(tmp_path_factory, "toy-run", lambda folder: pretrain(toy_store, folder / "run", config=config))
    return made / "run"
