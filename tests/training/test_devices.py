"""Devices and processes as the environment gives them."""

import pytest
import torch

from sojourn.errors import ConfigError
from sojourn.training.devices import is_first_process, make_fabric, sum_over_processes, world_size


def test_one_process_is_the_first_and_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert (world_size(), is_first_process()) == (1, True)
    fabric = make_fabric("cpu", "32-true")
    assert (fabric.device.type, fabric.world_size) == ("cpu", 1)
    assert sum_over_processes(fabric, [1.0, 0.25]) == [1.0, 0.25]


def test_processes_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert (world_size(), is_first_process()) == (4, False)


def test_a_gpu_that_is_not_there_is_refused_and_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cpu or auto"):
        make_fabric("cuda", "32-true")
    assert make_fabric("auto", "32-true").device.type == "cpu"
