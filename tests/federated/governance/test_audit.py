"""The audit log: whole as written, and any meddling shows."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.federated.governance.audit import AuditLog


def written(path: Path, num_lines: int = 5) -> AuditLog:
    log = AuditLog(path)
    for number in range(num_lines):
        log.append("answered", kind="train", round=number, bytes=10 * number)
    return log


def test_a_log_that_nobody_touched_is_whole(tmp_path: Path) -> None:
    log = written(tmp_path / "audit.jsonl")
    report = log.verify()
    assert (report.num_lines, report.problems) == (5, ())
    assert report.head == log.head
    assert [line["number"] for line in log.lines()] == [1, 2, 3, 4, 5]
    assert AuditLog(tmp_path / "none.jsonl").verify() == (0, "0" * 64, ())


def test_a_log_that_was_written_anew_is_found_by_its_witness(tmp_path: Path) -> None:
    site, coordinator = AuditLog(tmp_path / "site.jsonl"), AuditLog(tmp_path / "coordinator.jsonl")
    for number in range(4):
        site.append("answered", kind="train", round=number)
        coordinator.append("answered", site="north", kind="train", round=number, head=site.head)
        coordinator.append("answered", site="south", kind="train", round=number, head="f" * 64)
    assert site.missing_from(coordinator, "north") == ()
    assert len(site.missing_from(coordinator, "south")) == 4
    anew = written(tmp_path / "anew.jsonl", 4)
    assert anew.verify().problems == ()
    assert len(anew.missing_from(coordinator, "north")) == 4
    coordinator.append("answered", site="north", kind="train", round=4, head=coordinator.lines()[0]["head"])
    (told,) = site.missing_from(coordinator, "north")
    assert "stands before an older one" in told


def test_a_question_that_the_coordinator_did_not_note_is_found(tmp_path: Path) -> None:
    """Whoever has the coordinator's key can ask in its name; each party's log has its own account of that."""
    site, coordinator = AuditLog(tmp_path / "site.jsonl"), AuditLog(tmp_path / "coordinator.jsonl")
    for number, question in enumerate("abc"):
        told = {"job": "1" * 64, "kind": "train", "round": number, "question": question}
        if question != "b":
            coordinator.append("asked", site="north", **told)
        site.append("asked", **told)
        site.append("answered", **told)
        if question == "a":
            site.append("asked", **told | {"job": "2" * 64, "question": "of another coordinator"})
        if question != "c":  # the answer to the last one is still on its way
            coordinator.append("answered", site="north", head=site.head)
    (found,) = site.missing_from(coordinator, "north")
    assert found == "the question in line 4 is none that the coordinator noted"


def drop(lines: list[str]) -> list[str]:
    return lines[:2] + lines[3:]


def swap(lines: list[str]) -> list[str]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def alter(lines: list[str]) -> list[str]:
    return [lines[0], lines[1].replace('"bytes": 10', '"bytes": 11'), *lines[2:]]


def alter_last(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1].replace("train", "start")]


def add(lines: list[str]) -> list[str]:
    return [*lines[:3], lines[2], *lines[3:]]


def cut_tail(lines: list[str]) -> list[str]:
    return lines[:-2]


def cut_all(lines: list[str]) -> list[str]:
    return []


@pytest.mark.parametrize("meddle", [drop, swap, alter, alter_last, add, cut_tail, cut_all])
def test_any_change_deletion_or_reordering_is_found(meddle: Callable[[list[str]], list[str]], tmp_path: Path) -> None:
    log = written(tmp_path / "audit.jsonl")
    before = log.path.read_text().splitlines()
    after = meddle(before)
    assert after != before
    log.path.write_text("".join(line + "\n" for line in after))
    assert log.verify().problems


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(at: int, bit: int, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    if not log.path.exists():
        written(log.path)
    whole = log.path.read_bytes()
    changed = bytearray(whole)
    changed[at % len(whole)] ^= 1 << bit
    log.path.write_bytes(changed)
    try:
        assert log.verify().problems
    finally:
        log.path.write_bytes(whole)


def test_a_crash_before_the_head_was_written_is_no_meddling(tmp_path: Path) -> None:
    log = written(tmp_path / "audit.jsonl", 3)
    head = (tmp_path / "audit.jsonl.head").read_text()
    log.append("answered", round=3)
    (tmp_path / "audit.jsonl.head").write_text(head)
    assert log.verify().problems == ()
    log.append("answered", round=4)
    assert log.verify().problems == ()


def test_a_line_has_no_place_for_anything_but_names_digests_and_sizes(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    with pytest.raises(AssertionError, match="no place for"):
        log.append("answered", value=3.7)
    log.append("refused", reason="x" * 1000)
    assert len(json.loads(log.path.read_text())["reason"]) == 200


def test_a_line_that_a_crash_cut_short_loses_none_after_it(tmp_path: Path) -> None:
    log = written(tmp_path / "audit.jsonl", 3)
    with log.path.open("ab") as file:
        file.write(log.path.read_bytes()[:40])
    log.append("revoked", by="the board")
    assert [line["event"] for line in log.lines()][-2:] == ["recovered", "revoked"]
    assert log.verify().problems == ()
    assert len((tmp_path / "audit.jsonl.torn").read_bytes()) == 41
