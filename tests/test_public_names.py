"""The functions of the public interface stay functions, whatever has been imported before."""

import importlib
from pathlib import Path

import pytest

import sojourn as sj
from sojourn.errors import SojournError


@pytest.mark.parametrize("name", [name for name in sj.__all__ if name != "TASKS"])
def test_every_public_name_can_be_called(name: str) -> None:
    for module in ("sojourn.report.html", "sojourn.demo"):
        importlib.import_module(module)
    assert callable(getattr(sj, name))


def test_report_is_the_function_after_its_room_was_imported(tmp_path: Path) -> None:
    importlib.import_module("sojourn.report.evaluation")
    with pytest.raises(SojournError):
        sj.report(tmp_path / "no-run", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_demo_is_the_function_after_its_module_was_imported() -> None:
    importlib.import_module("sojourn.demo")
    with pytest.raises(TypeError, match="no_such_setting"):
        sj.demo(Path("nowhere"), no_such_setting=True)  # type: ignore[call-arg]
