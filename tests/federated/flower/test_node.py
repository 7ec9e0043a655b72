"""A site's node has its folder to itself."""

import signal
from pathlib import Path
from typing import Any

import pytest

from sojourn.errors import FederationError
from sojourn.federated.flower import deployment
from sojourn.federated.flower.homes import SiteHome


def test_a_second_node_of_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = SiteHome(tmp_path, "north", tmp_path / "store", "127.0.0.1:9092", ())
    ran: list[str] = []

    class Running:
        def run(self) -> None:
            with pytest.raises(FederationError, match="one node of north must run at a time"):
                deployment.run_node(home)
            ran.append("once")

    made: Any = lambda _: Running()  # noqa: E731
    monkeypatch.setattr(deployment, "make_node", made)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    deployment.run_node(home)
    deployment.run_node(home)  # the first has ended, and let go of the folder
    assert ran == ["once", "once"]
    assert [line["event"] for line in home.log.lines()] == ["node_started", "node_stopped"] * 2
