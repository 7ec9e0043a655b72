"""Folders of coordinator and sites: invitation there, registration back."""

import json
from pathlib import Path

import pytest

from sojourn.errors import ConfigError
from sojourn.events.store import EventStore
from sojourn.federated.flower.homes import (
    CoordinatorHome,
    SiteHome,
    init_coordinator,
    join_site,
    open_home,
    read_registration,
    split_address,
)
from sojourn.federated.flower.tls import make_node_key
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.keys import fingerprint, public_text


@pytest.fixture
def coordinator(tmp_path: Path) -> CoordinatorHome:
    return init_coordinator(tmp_path / "coordinator", address="127.0.0.1:9092")


def test_a_site_joins_and_is_registered(coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path) -> None:
    invitation = coordinator.path / "invitation.json"
    site = join_site(tmp_path / "north", name="north", store=toy_store.path, invitation=invitation)
    assert site.coordinators == (public_text(coordinator.key),)
    assert (site.path / "ca.crt").read_bytes() == (coordinator.path / "ca.crt").read_bytes()
    assert site.path.stat().st_mode & 0o077 == 0
    registration = site.path / "registration.json"
    assert coordinator.register(registration) == "north"
    assert coordinator.register(registration) == "north"  # again is no other
    assert list(coordinator.registrations()) == ["north"]
    assert isinstance(open_home(site.path), SiteHome)
    assert isinstance(open_home(coordinator.path), CoordinatorHome)
    secrets = (site.path / "node.key").read_text() + (site.path / "site.key").read_text()
    assert not any(line in registration.read_text() for line in secrets.splitlines() if "-----" not in line)
    for home in (site, coordinator):
        assert home.log.verify().problems == ()


def changed(path: Path, to: Path, **words: object) -> Path:
    """A copy of a file of words with some of them replaced."""
    to.write_text(json.dumps(json.loads(path.read_text()) | words))
    return to


def test_whoever_changes_a_word_of_an_invitation_changes_what_is_read_on_the_telephone(
    coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path
) -> None:
    invitation = coordinator.path / "invitation.json"
    evil = init_coordinator(tmp_path / "evil", address="mitm.example.net:9092")
    words = {
        "address": "mitm.example.net:9092",
        "authority": (evil.path / "ca.crt").read_text(),
        "key": public_text(evil.key),
    }
    told = [coordinator.fingerprint]
    site = join_site(tmp_path / "north", name="north", store=toy_store.path, invitation=invitation)
    assert site.fingerprint_of_coordinator == coordinator.fingerprint
    assert len(coordinator.fingerprint) < 25  # it is read aloud
    for name, word in words.items():
        other = changed(invitation, tmp_path / f"{name}.json", **{name: word})
        site = join_site(tmp_path / name, name="north", store=toy_store.path, invitation=other)
        told.append(site.fingerprint_of_coordinator)
    assert len(set(told)) == 4


def test_whoever_changes_a_word_of_a_registration_changes_what_is_read_on_the_telephone(
    coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path
) -> None:
    invitation = coordinator.path / "invitation.json"
    site = join_site(tmp_path / "north", name="north", store=toy_store.path, invitation=invitation)
    words = {"name": "south", "node_key": make_node_key(tmp_path / "evil.key"), "key": public_text(coordinator.key)}
    told = [site.fingerprint]
    for name, word in words.items():
        other = changed(site.path / "registration.json", tmp_path / f"{name}.json", **{name: word})
        told.append(fingerprint(read_registration(other)))
    assert len(set(told)) == 4
    coordinator.register(site.path / "registration.json")
    assert fingerprint(coordinator.registrations()["north"]) == site.fingerprint
    assert coordinator.log.lines()[-1]["key"] == site.fingerprint


@pytest.mark.parametrize(
    "words",
    [
        {"key": 7},
        {"key": "ed25519:AAAA"},
        {"node_key": ["x"]},
        {"node_key": "x"},
        {"node_key": None},
        {"name": 3},
        {"more": "x"},
    ],
)
def test_a_registration_that_is_none_lets_nobody_in(
    words: dict[str, object], coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path
) -> None:
    invitation = coordinator.path / "invitation.json"
    site = join_site(tmp_path / "north", name="north", store=toy_store.path, invitation=invitation)
    before = len(coordinator.log.lines())
    other = changed(site.path / "registration.json", tmp_path / "other.json", **words)
    with pytest.raises(ConfigError, match="federate join"):
        coordinator.register(other)
    assert not coordinator.registrations()
    assert len(coordinator.log.lines()) == before


def test_nobody_is_let_in_whom_the_log_does_not_name(
    coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation = coordinator.path / "invitation.json"
    site = join_site(tmp_path / "north", name="north", store=toy_store.path, invitation=invitation)

    def fail(*_: object, **__: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(AuditLog, "append", fail)
    with pytest.raises(OSError, match="disk full"):
        coordinator.register(site.path / "registration.json")
    assert not coordinator.registrations()


@pytest.mark.parametrize("words", [{"key": 7}, {"key": "x"}, {"authority": "x"}, {"authority": {}}, {"address": 3}])
def test_an_invitation_that_is_none_is_not_taken(
    words: dict[str, object], coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path
) -> None:
    other = changed(coordinator.path / "invitation.json", tmp_path / "other.json", **words)
    with pytest.raises(ConfigError, match="federate init"):
        join_site(tmp_path / "north", name="north", store=toy_store.path, invitation=other)
    assert not (tmp_path / "north").exists()


def test_a_name_or_a_key_is_not_given_away_twice(
    coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path
) -> None:
    invitation = coordinator.path / "invitation.json"
    for folder, name in (("one", "north"), ("two", "south")):
        join_site(tmp_path / folder, name=name, store=toy_store.path, invitation=invitation)
    coordinator.register(tmp_path / "one" / "registration.json")
    told = json.loads((tmp_path / "two" / "registration.json").read_text())
    other = tmp_path / "other.json"
    for change in ({"name": "north"}, {"key": json.loads((tmp_path / "one" / "registration.json").read_text())["key"]}):
        other.write_text(json.dumps(told | change))
        with pytest.raises(ConfigError, match="name and keys of its own"):
            coordinator.register(other)
    other.write_text(json.dumps(told | {"name": "../../x"}))
    with pytest.raises(ConfigError, match="must consist of letters"):
        coordinator.register(other)
    other.write_text("[]")
    with pytest.raises(ConfigError, match="federate join"):
        coordinator.register(other)


def test_wrong_calls_say_what_is_wrong(coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a new folder"):
        init_coordinator(coordinator.path, address="127.0.0.1:9092")
    with pytest.raises(ConfigError, match="must be a site of"):
        join_site(tmp_path / "x", name="nowhere", store=toy_store.path, invitation=coordinator.path / "invitation.json")
    with pytest.raises(ConfigError, match="must be made by"):
        open_home(tmp_path)
    for address in ("fl.example.org", ":1", "host:99999", "host:x"):
        with pytest.raises(ConfigError, match="host:port"):
            split_address(address)


def test_patients_who_objected_are_read_from_a_list(
    coordinator: CoordinatorHome, toy_store: EventStore, tmp_path: Path
) -> None:
    invitation = coordinator.path / "invitation.json"
    site = join_site(tmp_path / "north", name="north", store=toy_store.path, invitation=invitation)
    assert site.left_out() == frozenset()
    (site.path / "left-out.txt").write_text("12\n-7\n")
    assert site.left_out() == {12, -7}
    (site.path / "left-out.txt").write_text("12\nJane\n")
    with pytest.raises(ConfigError) as caught:
        site.left_out()
    assert "Jane" not in str(caught.value)
