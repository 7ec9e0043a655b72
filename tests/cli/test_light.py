"""What starting the command costs: which modules are imported, and that the help is typer's own."""

import json
import subprocess
import sys

import pytest
from typer.core import TyperCommand, TyperGroup

from helpers.command import call
from sojourn.cli.light import LightCommand, LightGroup

HEAVY = {"torch", "polars", "numpy", "scipy", "sklearn", "lightgbm", "matplotlib", "pyarrow", "pydantic"}
UNUSED = {"rich.markdown", "markdown_it", "rich.traceback", "pygments"}


def modules_after(script: str) -> set[str]:
    """Modules that a fresh interpreter holds when `script` has run to its end."""
    ending = f"import json, sys\ntry:\n  {script}\nexcept SystemExit:\n  pass\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ending], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy() -> None:
    found = modules_after("import sojourn")
    assert "sojourn" in found
    assert not (HEAVY | {"rich", "typer"}) & found


def test_help_imports_nothing_heavy_and_no_part_of_rich_that_it_does_not_use() -> None:
    found = modules_after("sys.argv = ['sojourn', '--help']; from sojourn.cli import main; main()")
    assert {"typer.rich_utils", "rich.table"} <= found  # it is drawn
    assert not (HEAVY | UNUSED) & found


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["demo", "-h"], []])
def test_help_is_that_of_typer(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = call(capsys, *arguments)
    monkeypatch.setattr(LightGroup, "format_help", TyperGroup.format_help)
    monkeypatch.setattr(LightCommand, "format_help", TyperCommand.format_help)
    monkeypatch.delitem(sys.modules, "typer.rich_utils")
    theirs = call(capsys, *arguments)
    assert ours == theirs
    assert "sojourn" in ours.out + ours.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "simulator", "a", "b", "--workers", "0"],
        ["predict", "a", "b", "c", "d", "--num-samples", "many"],
        ["federate", "approve", "home", "--epsilon", "many"],
    ],
)
def test_a_wrong_option_is_named_without_a_variable_that_there_is_not(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    called = call(capsys, *arguments)
    assert called.code == 2
    assert "env var" not in called.err
    assert f"Invalid value for '{arguments[-2]}': " in called.err


def test_the_hollow_modules_are_gone_after_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "--help")
    from rich.markdown import Markdown

    assert Markdown("*whole*").markup == "*whole*"


def test_asking_a_run_does_without_what_only_training_and_statistics_need() -> None:
    loaded = modules_after("import sojourn.inference.predict")
    assert not loaded & {"lightning_fabric", "torch._dynamo", "torch.distributed.fsdp", "scipy.stats", "sklearn"}
