"""The public API: what is announced is there, and importing it costs nothing."""

import inspect
import json
import subprocess
import sys
from importlib import import_module

import pytest

import sojourn as sj
from sojourn import errors

HEAVY = ("torch", "polars", "pyarrow", "lightning_fabric", "matplotlib", "sklearn", "lightgbm", "pydantic", "typer")


def test_all_is_sorted_and_holds_the_whole_namespace() -> None:
    kinds = [(not name.isupper(), not name[0].isupper(), name) for name in sj.__all__]
    assert kinds == sorted(kinds)  # constants, classes, functions
    assert dir(sj) == sorted(sj.__all__)
    assert set(sj.__all__) - {"TASKS"} == set(sj._PLACES)


@pytest.mark.parametrize("name", sj.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    member = getattr(sj, name)
    if name == "TASKS":
        assert "death-24h" in member
        return
    assert callable(member)
    own = getattr(import_module(sj._PLACES[name]), name)
    assert len(inspect.getdoc(own) or "") > 60
    if inspect.isfunction(own):
        signature = inspect.signature(own, eval_str=True)
        assert all(p.annotation is not p.empty for p in signature.parameters.values())
        assert signature.return_annotation is not signature.empty


def test_names_of_functions_stay_functions_when_rooms_of_that_name_are_imported() -> None:
    for name in ("report", "demo", "inspect"):
        import_module(f"sojourn.{name}" if name != "inspect" else "sojourn.events.inspect")
        assert callable(getattr(sj, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'luck'"):
        sj.luck


def test_import_is_light() -> None:
    """`import sojourn` imports neither the network's nor the tables' library, nor does the help of the commands."""
    script = (
        "import json, sys, sojourn; first = sorted(sys.modules)\n"
        "import sojourn.cli; print(json.dumps([first, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = json.loads(done.stdout)
    assert not set(HEAVY) & set(first)
    assert not set(HEAVY) - {"typer"} & set(second)


def test_all_errors_are_of_one_family_and_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    assert all(issubclass(kind, errors.SojournError) for kind in kinds)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)
