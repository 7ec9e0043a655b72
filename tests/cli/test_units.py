"""The commands around units: decide, override, draw, and build without concepts."""

import json
from pathlib import Path

import pytest

from helpers.command import call
from helpers.unit_hospitals import write_hospitals

CODE = "LAB//ionized calcium"
CODES = {CODE: ("ionized_calcium", "mg/dL", 0.25, 0.0)}
RECORDED = {("north", CODE): [4.4, 4.6, 4.8], ("south", CODE): [1.1, 1.2, 1.15]}

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_hospitals(tmp_path / "data", RECORDED, CODES)


def test_units_are_decided_and_overridden(data: Path, tmp_path: Path, capsys: Capture) -> None:
    report = json.loads(call(capsys, "units", data, "--json").out)
    assert (report["num_pairs"], report["inferred"]) == (2, 1)
    (south,) = report["table"]
    assert (south["site"], south["unit"], south["decision"]) == ("south", "mmol/L", "inferred")
    (tmp_path / "known.csv").write_text("site,concept,code,unit\nsouth,ionized_calcium,,raw\n")
    shown = call(capsys, "units", data, "--override", tmp_path / "known.csv").out
    assert "overridden" in shown


def test_inspection_draws_the_picture_that_was_asked_for(data: Path, tmp_path: Path, capsys: Capture) -> None:
    call(capsys, "inspect", data, "--picture", tmp_path / "coverage.svg")
    assert "ionized calcium at north" in (tmp_path / "coverage.svg").read_text()


def test_a_store_without_concepts_keeps_the_recorded_values(data: Path, tmp_path: Path, capsys: Capture) -> None:
    call(capsys, "build", tmp_path / "store", data, "--no-concepts")
    shown = json.loads(call(capsys, "inspect", tmp_path / "store", "--json").out)
    assert set(shown["families"]) == {"LAB"}
