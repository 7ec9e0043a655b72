"""The page about concepts, followed as it stands: its files, its commands, and what comes out."""

import re
from pathlib import Path

import polars as pl
import pytest

from helpers.command import call
from sojourn.events.store import EventStore

PAGE = Path(__file__).parents[2] / "docs" / "concepts.md"


def test_the_page_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"^```(?:csv|yaml) (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(files) == 5
    monkeypatch.chdir(tmp_path)
    for name, content in files:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content, encoding="utf-8")
    for command in commands.splitlines():
        done = call(capsys, *command.split()[1:])
        assert done.code == 0, done.err
    codes = pl.read_parquet("data/ours/metadata/codes.parquet").drop_nulls("concept")
    assert set(codes.select("concept", "specimen", "role").rows()) == {
        ("creatinine", None, "measurement"),
        ("procalcitonin", None, "measurement"),
        ("lactate", "venous", "measurement"),
        ("heart_rate", None, "measurement"),
        ("heart_rate_alarm_high", None, "limit"),
    }
    vocabulary = EventStore.open(Path("stores/ours")).vocabulary
    units = dict(vocabulary.filter(pl.col("code").str.starts_with("CONCEPT//")).select("code", "unit").iter_rows())
    assert units["CONCEPT//creatinine"] == "mg/dL"
    assert units["CONCEPT//procalcitonin"] == "ng/mL"


def test_the_messages_on_the_page_are_those_of_the_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "concepts.csv").write_text(
        "name,unit,kind,aggregation,min,max,description\nprocalcitonin,ng/mL,lab,last,0,1000,PCT\n"
    )
    (tmp_path / "codes.csv").write_text(
        "source,code,concept,unit,scale,label\n"
        "csv,A,creatinine,umol/L,1,\n"
        "csv,B,procalcitonine,,,\n"
        "csv,C,sodium,,,\n"
        "csv,D,potassium,,,\n"
        "csv,E,heart_rate,,,HR alarm limit\n"
    )
    said = call(capsys, "concepts", "check", tmp_path).err
    block = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    codes.csv line")]
    assert len(block) == 3
    for line in block:
        assert line in said
