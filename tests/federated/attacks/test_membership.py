"""The attack finds who was trained on where a network has learnt them by heart, and nobody where it has not."""

from pathlib import Path

import numpy as np

from federated.conftest import SMALL
from sojourn.events.store import EventStore
from sojourn.federated.attacks.membership import membership_auroc, patient_losses, toss
from sojourn.federated.coordinator import federate
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.training.run import Run


def test_patients_that_were_learnt_by_heart_are_found(toy_store: EventStore, tmp_path: Path) -> None:
    coins = toss(toy_store.rows(split="train", sites=["north"]), seed=0)
    ids = toy_store.subjects["subject_id"]
    rows, is_member = np.concatenate(coins), np.repeat([True, False], [len(coins.members), len(coins.others)])
    pretrain = SMALL["pretrain"] | {"learning_rate": 1e-2, "warmup_steps": 2}
    losses = {}
    for name, rounds in (("start", 1), ("end", 12)):
        site = Site("north", toy_store, left_out=ids.gather(coins.others).to_list())
        config = SMALL | {"rounds": rounds, "local_steps": 15, "max_local_epochs": 1000.0, "evaluate_every": rounds}
        federate(InProcess({"north": site}), tmp_path / name, config=config | {"pretrain": pretrain})
        run = Run(tmp_path / name)
        losses[name] = patient_losses(run.network(), run.reader(toy_store), rows, run.config)
    found = membership_auroc(losses["end"], losses["start"], is_member, num_bootstrap=200)
    assert found.lower > 0.5
    by_chance = membership_auroc(losses["start"], losses["start"], is_member, num_bootstrap=200)
    assert by_chance.lower <= 0.5 <= by_chance.upper
