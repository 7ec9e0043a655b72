"""Processes beside each other share the processors."""

import pytest

from sojourn.cores import num_cores, shared_environment


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.cores.num_cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert shared_environment(3)["OMP_NUM_THREADS"] == shared_environment(3)["POLARS_MAX_THREADS"] == "2"
    assert shared_environment(100)["OMP_NUM_THREADS"] == "1"


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert shared_environment(num_cores())["OMP_NUM_THREADS"] == "7"
