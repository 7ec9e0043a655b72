"""The public API: what is announced is there, and importing it costs nothing."""

import inspect
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

import sojourn as sj
from sojourn import errors
from sojourn.paths import takes_strings
from sojourn.sources.simulator import default_config, write_config

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


def test_strings_are_paths_where_paths_are_asked_for(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw.yaml", tmp_path / "meds"
    network = default_config(num_sites=1, stays_per_site=3, seed=0)
    write_config(network.model_copy(update={"truth": network.truth.model_copy(update={"risks": False})}), raw)
    sj.ingest("simulator", str(raw), str(out))
    assert (out / "data").exists()
    sj.build(str(tmp_path / "store"), [str(out)])
    sj.build(str(tmp_path / "same"), str(out))
    stores = [sj.EventStore.open(str(tmp_path / name)) for name in ("store", "same")]
    assert len(stores[0]) == len(stores[1]) == 3
    with pytest.raises(errors.RunError, match="must be a run"):
        sj.Run(str(tmp_path))
    assert inspect.signature(sj.build) == inspect.signature(import_module("sojourn.pipeline").build)


def test_what_may_be_a_string_stays_one(tmp_path: Path) -> None:
    def both(place: str | Path, several: Sequence[Path], maybe: Path | None = None) -> tuple[object, ...]:
        return place, several, maybe

    assert takes_strings(both)("a", tmp_path, "b") == ("a", [tmp_path], Path("b"))
    assert takes_strings(both)("a", ["c", tmp_path]) == ("a", [Path("c"), tmp_path], None)


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
