"""`sojourn concepts`: lists, shows and checks."""

import json
from pathlib import Path

import pytest

from helpers.command import call


def test_it_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(call(capsys, "concepts", "--source", "mimic-iv", "--json").out)
    assert "lactate" in {row["concept"] for row in listed}
    assert "lactate" in call(capsys, "concepts").out
    shown = json.loads(call(capsys, "concepts", "lactate", "--json").out)
    assert shown["unit"] == "mmol/L"
    table = call(capsys, "concepts", "tube_feed_residual", "--source", "mimic-iv")
    assert "OUTPUT//227510//ml" in table.out
    assert "count it as urine" in table.err


def test_it_checks_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("code,concept\nLAB//1//mmol/L,lactate\n")
    done = call(capsys, "concepts", "check", mine, "--source", "ours", "--json")
    assert json.loads(done.out) == {"concepts": 0, "codes": 1, "sources": "ours"}
    mine.write_text("code,concept\nLAB//1//mmol/L,laktate\n")
    refused = call(capsys, "concepts", "check", mine, "--source", "ours")
    assert refused.code == 1
    assert "mine.csv line 2, column concept" in refused.err


def test_wrong_command_lines_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "concepts", "check").code == 2
    assert call(capsys, "concepts", "lactate", tmp_path).code == 2
    unknown = call(capsys, "concepts", "laktate")
    assert unknown.code == 1
    assert "Did you mean lactate" in unknown.err
