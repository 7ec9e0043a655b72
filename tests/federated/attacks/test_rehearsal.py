"""A rehearsal trains, attacks and tells; who taught the reference says nothing of who was a member."""

from pathlib import Path

import numpy as np
import pytest

from federated.conftest import SMALL
from sojourn.errors import ConfigError
from sojourn.events.store import EventStore
from sojourn.federated.attacks.membership import Groups, groups_of
from sojourn.federated.attacks.rehearsal import REPORT, rehearse
from sojourn.files import read_json
from sojourn.report.attacks import attack_page

PLANNED = SMALL | {"rounds": 1, "local_steps": 2, "privacy": {"patients_per_step": 6}}


def test_a_rehearsal_is_attacked_told_and_not_made_twice(simulated_meds: Path, tmp_path: Path) -> None:
    asked = {"site": "hospital-1", "config": PLANNED, "epsilons": (None, 8.0), "num_canaries": 20}
    report = rehearse(tmp_path / "out", [simulated_meds], **asked)
    store = EventStore.open(tmp_path / "out" / "store")
    num_patients = len(store.rows(split="train", sites=["hospital-1"])) - 30
    assert report.num_members + report.num_others + report.num_reference == num_patients
    plain, private = report.trainings
    assert (plain.epsilon, private.epsilon) == (None, 8.0)
    assert plain.bits_per_event is not None
    assert private.bits_per_event is not None
    assert plain.bits_per_event < private.bits_per_event  # 10.3 and 10.7 to 10.8, whatever the noise
    assert all(one.patients.lower <= one.patients.value <= one.patients.upper for one in report.trainings)
    assert all(one.least_epsilon <= 8.0 for one in report.trainings)  # two steps teach nobody by heart
    # Without noise the step of one patient tells more of its codes than the noisy one.
    assert plain.codes[0].auroc > private.codes[0].auroc
    made = (tmp_path / "out" / "epsilon-8" / "found.json").stat().st_mtime_ns
    again = rehearse(tmp_path / "out", [simulated_meds], **asked)
    assert (tmp_path / "out" / "epsilon-8" / "found.json").stat().st_mtime_ns == made
    assert again == report
    with pytest.raises(ConfigError, match="holds one with others"):
        rehearse(tmp_path / "out", [simulated_meds], **asked | {"seed": 1})
    assert read_json(tmp_path / "out" / REPORT)["trainings"][1]["epsilon"] == 8.0
    page = attack_page(report, tmp_path / "attacks.html").read_text()
    for said in ("epsilon 8", "without noise", "Which codes the patients of one step had"):
        assert said in page


def test_the_reference_is_the_same_whatever_the_coins_say() -> None:
    rows, ids = np.arange(90), np.arange(1000, 1090)
    groups: list[Groups] = [groups_of(rows, np.isin(ids, ids[70:]), "a", seed=0, coins_seed=k) for k in (0, 1)]
    assert np.array_equal(groups[0].reference, groups[1].reference)
    assert not np.array_equal(groups[0].patients.members, groups[1].patients.members)
    for one in groups:
        parts = [*one.patients, *one.canaries, one.reference]
        assert np.array_equal(np.sort(np.concatenate(parts)), rows)
        assert np.isin(np.concatenate(one.canaries), rows[70:]).all()
        assert np.isin(one.reference, rows[70:]).sum() == 6  # a third of the canaries teach it what canaries are like
    with pytest.raises(ConfigError, match="60 training patients to be attacked; it has 40"):
        groups_of(np.arange(50), np.arange(50) >= 40, "a", seed=0)


def test_a_plan_that_cannot_have_noise_is_refused_before_the_first_training(tmp_path: Path) -> None:
    """The strategy that the guide starts with is one: hours of training before would have been for nothing."""
    planned = {"rounds": 500, "settling_rounds": 200, "strategy": {"name": "diloco"}}
    with pytest.raises(ConfigError, match=r"settling_rounds are not for privacy.*--epsilon 0"):
        rehearse(tmp_path / "out", [tmp_path / "meds"], site="hospital-1", config=planned)
    assert not (tmp_path / "out").exists()
