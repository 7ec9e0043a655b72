"""What nodes may send: nothing of it stops the coordinator, and what they tell of their logs is kept."""

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MessageType, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity

from sojourn.federated.flower.records import to_record
from sojourn.federated.flower.superlink import _envelope
from sojourn.federated.flower.transport import FlowerTransport
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.envelope import Letter, digest, seal
from sojourn.federated.governance.keys import make_key, public_text
from sojourn.federated.messages import Message as Question
from sojourn.federated.messages import Refusal


def huge() -> bytes:
    """The header of an array of ten million million numbers, and none of them."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (10**13,)})
    return buffer.getvalue()


def sent(content: RecordDict) -> bytes:
    message = Message(content, 1, MessageType.QUERY)
    objects = get_all_nested_objects(message)
    return _envelope(message.object_id, {name: part.deflate() for name, part in objects.items()})


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", huge()], ids=["empty", "zip", "huge"])
def test_arrays_that_cannot_be_read_are_no_envelope(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_node_id", "_task_id"):  # messages are made by a node of a running task alone
        monkeypatch.setattr(TaskIdentity, name, 1)
    array = Array(dtype="uint8", shape=(3,), stype="numpy.ndarray", data=data)
    assert sent(RecordDict({"sojourn": ArrayRecord({"envelope": array})})) == b""
    assert sent(to_record(b"whole")) == b"whole"


def test_the_last_line_of_a_sites_log_is_kept_from_refusals_too(tmp_path: Path) -> None:
    key, site = make_key(tmp_path / "coordinator.key"), make_key(tmp_path / "site.key")
    log = AuditLog(tmp_path / "audit.jsonl")
    transport = FlowerTransport(cast(Any, None), "job", keys={"north": public_text(site)}, key=key, log=log)
    question = seal(b"", {}, key)
    said = {"site": "north", "question": digest(question), "head": "abc", "reason": "budget", "detail": ""}
    found = transport._opened("north", question, seal(b"", said, site))
    assert found == Refusal("budget", "")
    assert not isinstance(found, Letter)
    transport._read("north", Question("train", 1), found)
    assert log.lines()[-1]["head"] == "abc"
    of_site = AuditLog(tmp_path / "site.jsonl")
    of_site.append("anew")
    (missing,) = of_site.missing_from(log, "north")
    assert "is not in it" in missing
