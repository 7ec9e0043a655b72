"""Commands of a deployment that need no network: who joins whom, what was agreed to, and whether the log is whole."""

import json
from pathlib import Path

import pytest

from helpers.command import call
from helpers.toy_process import SETTINGS, build_toy_store
from sojourn.events.store import EventStore
from sojourn.federated.config import FederatedConfig
from sojourn.federated.coordinator import federate
from sojourn.federated.flower.homes import open_coordinator, open_site
from sojourn.federated.governance.manifest import propose, sign_manifest
from sojourn.federated.privacy.budget import read_budget, set_budget
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.training.run import Run


@pytest.fixture
def homes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> tuple[Path, Path]:
    """A coordinator and a site that joined it and was let in."""
    coordinator, site = tmp_path / "coordinator", tmp_path / "site"
    store = build_toy_store(tmp_path / "toy", num_subjects=12, seed=1)
    assert call(capsys, "federate", "init", coordinator, "--address", "127.0.0.1:9092").code == 0
    options = ["--name", "north", "--store", store, "--invitation", coordinator / "invitation.json"]
    assert call(capsys, "federate", "join", site, *options).code == 0
    done = call(capsys, "federate", "approve", coordinator, site / "registration.json", "--yes")
    assert done.code == 0
    assert "north is registered" in done.err
    return coordinator, site


def offered(coordinator: Path, site: Path) -> str:
    """Leave a job at the site, as the node would; its digest."""
    manifest = propose("sepsis", FederatedConfig(privacy={"epsilon": 3.0}), ["north"], purpose="Early warning")
    return open_site(site).approvals.offer(sign_manifest(manifest, open_coordinator(coordinator).key))


def test_a_job_is_shown_approved_and_revoked(homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    coordinator, site = homes
    assert call(capsys, "federate", "approve", site, "--yes").code == 1  # nothing was offered
    digest = offered(coordinator, site)
    done = call(capsys, "federate", "approve", site, "--by", "the board", "--epsilon", "5", "--yes")
    assert done.code == 0
    assert "Early warning" in done.out
    assert "epsilon 3" in done.out
    assert "gradients cut to 1" in done.out
    home = open_site(site)
    assert home.approvals.state(digest) == "approved"
    assert read_budget(home.private) == 5.0
    shown = call(capsys, "federate", "status", site)
    assert "approved" in shown.out
    assert "the board" in shown.err
    assert call(capsys, "federate", "approve", site, digest[:8], "--revoke", "--by", "the board").code == 0
    assert home.approvals.state(digest) == "revoked"


def test_the_audit_tells_a_whole_log_from_a_changed_one(
    homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for home in homes:
        done = call(capsys, "federate", "audit", home, "--json")
        assert done.code == 0
        assert json.loads(done.out)["result"] == "whole"
    witness = open_coordinator(homes[0]).log
    witness.append("answered", site="north", kind="train", round=0, head=open_site(homes[1]).log.head)
    against = ("--against", homes[0] / "audit.jsonl")
    assert call(capsys, "federate", "audit", homes[1], *against).code == 0
    witness.append("answered", site="north", kind="train", round=1, head="a" * 64)
    told = call(capsys, "federate", "audit", homes[1], *against)
    assert told.code == 1
    assert "is not in it" in told.err.replace("\n", " ")
    assert call(capsys, "federate", "audit", homes[0], *against).code == 1
    log = homes[0] / "audit.jsonl"
    log.write_text(log.read_text().replace("north", "south"))
    done = call(capsys, "federate", "audit", homes[0])
    assert done.code == 1
    assert "was changed, moved or removed" in done.err.replace("\n", " ") or "must end with line" in done.err


def test_wrong_calls_are_explained(homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    coordinator, site = homes
    assert call(capsys, "federate", "run", coordinator).code == 2
    assert call(capsys, "federate", "approve", coordinator).code == 2
    assert call(capsys, "federate", "status", coordinator.parent).code == 1
    assert "north" in call(capsys, "federate", "status", coordinator).out
    assert call(capsys, "federate", "evaluate", coordinator, site).code == 1


def test_options_of_the_other_role_are_refused(homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Ignored, they looked obeyed: `approve COORDINATOR ... --revoke` let a site in."""
    coordinator, site = homes
    for path in (coordinator / "sites").iterdir():
        path.unlink()
    for options in (["--revoke"], ["--epsilon", "3"], ["--by", "the board"]):
        told = call(capsys, "federate", "approve", coordinator, site / "registration.json", *options, "--yes")
        assert (told.code, options[0] in told.err) == (2, True)
    assert open_coordinator(coordinator).registrations() == {}
    digest = offered(coordinator, site)
    told = call(capsys, "federate", "approve", site, digest[:8], "--revoke", "--epsilon", "4")
    assert (told.code, "--epsilon" in told.err) == (2, True)
    assert open_site(site).approvals.state(digest) == "waiting"
    given = (["--config", "c.yaml"], ["--purpose", "x"], ["--min-consents", "1"], ["--patience", "0"], ["--json"])
    for options in (["runs/x"], *given):
        told = call(capsys, "federate", "run", site, *options)
        assert (told.code, "of a coordinator" in told.err) == (2, True)


def test_words_of_the_log_are_shown_as_they_are(homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    open_site(homes[1]).log.append("approved", by="DPO [/minute 17]", job="a" * 64)
    done = call(capsys, "federate", "status", homes[1])
    assert done.code == 0, done.err
    assert "by DPO [/minute 17]" in done.err


def test_a_job_of_an_earlier_version_is_shown_and_can_be_revoked(
    homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator, site = homes
    digest = offered(coordinator, site)
    path = open_site(site).approvals.folder / f"{digest}.manifest.json"
    path.write_text(path.read_text().replace('"config":{', '"config":{"old_setting":1,'))
    assert "of another version" in call(capsys, "federate", "status", site).out
    refused = call(capsys, "federate", "approve", site, digest[:8], "--yes")
    assert (refused.code, "by this version" in refused.err) == (1, True)
    assert call(capsys, "federate", "approve", site, digest[:8], "--revoke").code == 0
    assert open_site(site).approvals.state(digest) == "revoked"


def test_a_hospital_gets_its_own_run(
    homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A training of the site's records, and then the command that joins its part."""
    home = open_site(homes[1])
    settings = {"rounds": 1, "local_steps": 2, "min_cell": 1, "min_count": 1, "personal": True}
    settings["pretrain"] = SETTINGS | {"instants_per_batch": 128, "precision": "32-true"}
    site = Site("north", EventStore.open(home.store), home.private)
    federate(InProcess({"north": site}), tmp_path / "run", config=settings)
    done = call(capsys, "federate", "own", homes[1], tmp_path / "run", tmp_path / "own", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["round"] == 1
    assert Run(tmp_path / "own").network() is not None
    assert home.log.lines()[-1]["event"] == "own_run"
    wrong = call(capsys, "federate", "own", homes[1], home.store, tmp_path / "other")
    assert wrong.code == 1


def test_what_the_coordinator_wrote_is_shown_as_it_was_signed(
    homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator, site = homes
    config = FederatedConfig.model_validate(
        {"rounds": 30, "strategy": {"name": "fedprox", "mu": 0.7}, "pretrain": {"train_splits": ["train", "held_out"]}}
    )
    manifest = propose("sepsis[/]", config, ["north"], purpose="Early warning [and resale of the weights]\x1b[2K[/x]")
    open_site(site).approvals.offer(sign_manifest(manifest, open_coordinator(coordinator).key))
    done = call(capsys, "federate", "approve", site, "--yes")
    assert done.code == 0, done.err
    assert "sepsis[/]" in done.out
    assert "Early warning [and resale of the weights]\N{REPLACEMENT CHARACTER}[2K[/x]" in done.out
    assert "30 of up to 25 steps, fedprox" in done.out
    assert "set: pretrain.train_splits" in done.out
    assert "held_out" in done.out
    assert "strategy.mu" in done.out
    assert "sepsis[/]" in done.err


def test_a_job_without_noise_is_not_agreed_to_under_a_limit(
    homes: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator, site = homes
    manifest = propose("plain", FederatedConfig(), ["north"])
    home = open_site(site)
    digest = home.approvals.offer(sign_manifest(manifest, open_coordinator(coordinator).key))
    refused = call(capsys, "federate", "approve", site, "--epsilon", "0", "--yes")
    assert refused.code == 1
    assert "without noise" in refused.err
    assert (home.approvals.state(digest), read_budget(home.private)) == ("waiting", None)
    set_budget(home.private, 3.0)
    assert call(capsys, "federate", "approve", site, "--yes").code == 1
    assert call(capsys, "federate", "approve", site, "--epsilon", "inf", "--yes").code == 0
    assert (home.approvals.state(digest), read_budget(home.private)) == ("approved", None)
