"""Where pieces are worked on makes no difference to what comes out."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from helpers.deriving import KILLED, fatal_once, high_lab
from helpers.on_ray import SMALL_PIECE
from sojourn.errors import ConfigError
from sojourn.events import plan
from sojourn.events.build import build_store
from sojourn.events.fan_out import check_portable, fan_out


def contents(store: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.mark.parametrize("cluster", ["slurm", "local:somewhere", ""])
def test_an_unknown_cluster_is_refused_before_anything_is_made(many_shards: Path, tmp_path: Path, cluster: str) -> None:
    with pytest.raises(ConfigError, match="local, ray or ray:ADDRESS"):
        fan_out(print, [], workers=1, cluster=cluster)
    with pytest.raises(ConfigError, match="local, ray or ray:ADDRESS"):
        build_store(tmp_path / "new" / "store", [many_shards], cluster=cluster)
    assert not (tmp_path / "new").exists()


def test_without_ray_the_message_says_what_to_install(many_shards: Path, tmp_path: Path, no_ray: None) -> None:
    with pytest.raises(ConfigError, match=r"sojourn\[ray\]"):
        build_store(tmp_path / "new" / "store", [many_shards], cluster="ray")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without Ray."""
    monkeypatch.setitem(sys.modules, "ray", None)


def test_a_function_without_a_place_is_not_portable() -> None:
    check_portable(high_lab, "derive")
    check_portable(None, "derive")
    with pytest.raises(ConfigError, match="derive must be a function at the top level"):
        check_portable(lambda events: events, "derive")


def on_ray(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `helpers.on_ray`, which starts a Ray of its own."""
    pytest.importorskip("ray")
    tests = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "helpers.on_ray", *arguments],
        env=os.environ | variables | {"PYTHONPATH": tests},
        cwd=tests,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_worker_of_ray_killed_on_the_way_changes_no_byte(
    many_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = {KILLED: str(tmp_path / "killed")}
    process = on_ray("build", str(tmp_path / "ray"), str(many_shards), **killed)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "killed").exists()
    monkeypatch.setattr(plan, "PIECE_ROWS", SMALL_PIECE)
    monkeypatch.setenv(*next(iter(killed.items())))
    report = build_store(tmp_path / "local", [many_shards], derive=fatal_once)
    assert report.num_shards > 3
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.slow
def test_an_error_of_a_piece_comes_back_from_ray_as_itself(many_shards: Path, tmp_path: Path) -> None:
    pl.DataFrame({"name": ["LAB//1//u"]}).write_parquet(many_shards / "metadata" / "codes.parquet")
    process = on_ray("build", str(tmp_path / "store"), str(many_shards), **{KILLED: str(tmp_path)})
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("sojourn.errors.SchemaError: ")
    assert "must have a column `code`" in last


@pytest.mark.slow
def test_a_ray_of_our_own_is_reached_from_this_machine_only() -> None:
    process = on_ray("listen")
    assert process.returncode == 0, process.stderr
    addresses = process.stdout.split()
    assert len(addresses) > 1
    assert set(addresses) == {"127.0.0.1"}
