"""The command that drafts and checks the mapping of one's own tables."""

import shutil
from pathlib import Path

import pytest

from helpers.command import call
from sojourn.sources.csv_mapping.draft import draft_mapping

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_export"


def test_the_command_drafts_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(EXAMPLE, raw)
    called = call(capsys, "mapping", raw)
    assert called.code == 0
    assert called.out == draft_mapping(raw)
    assert "vitals: vitals.csv" in call(capsys, "mapping", raw, "--check").err
    (raw / "mapping.yaml").write_text((raw / "mapping.yaml").read_text().replace("concept: lactate", "concept: lactat"))
    called = call(capsys, "mapping", raw, "--check")
    assert called.code == 1
    assert "Did you mean lactate" in " ".join(called.err.split())
