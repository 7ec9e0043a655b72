"""A user's own tables: what is right is used, what is wrong is named by file, line and column."""

from pathlib import Path

import polars as pl
import pytest

from sojourn.concepts import match_codes, name_codes
from sojourn.concepts.custom import read_dictionary, read_tables
from sojourn.errors import SchemaError

CONCEPT = "name,unit,kind,aggregation,min,max,description\nprocalcitonin,ng/mL,lab,last,0,1000,procalcitonin\n"
CODES = (
    "code,concept,scale,label\nLAB//CREA//umol/L,creatinine,0.01131,Creatinine\nLAB//PCT//ng/mL,procalcitonin,1,PCT\n"
)


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_concept_and_its_codes_are_added(tmp_path: Path) -> None:
    own = read_tables(folder(tmp_path, concepts=CONCEPT, codes=CODES), source="csv")
    assert own.concepts["name"].to_list() == ["procalcitonin"]
    codes = pl.DataFrame(
        {"code": ["LAB//PCT//ng/mL", "LAB//CREA//umol/L", "X"], "concept": None, "scale": 1.0, "offset": 0.0},
        schema_overrides={"concept": pl.String},
    )
    named = name_codes(codes, "csv", own=own)
    assert named.select("concept", "scale", "concept_unit", "role").rows() == [
        ("procalcitonin", 1.0, "ng/mL", "measurement"),
        ("creatinine", 0.01131, "mg/dL", "measurement"),
        (None, 1.0, None, None),
    ]


def test_own_rows_go_before_those_of_the_package(tmp_path: Path) -> None:
    own = read_tables(folder(tmp_path, mine="source,code,concept\nmimic-iv,LAB//50912//mg/dL,bun\n"))
    code = pl.Series(["LAB//50912//mg/dL"])
    assert match_codes(code, "mimic-iv", own=own.codes)["concept"].item() == "bun"
    assert match_codes(code, "mimic-iv")["concept"].item() == "creatinine"
    assert match_codes(code, "eicu", own=own.codes).is_empty()


def test_every_problem_is_named_with_its_place(tmp_path: Path) -> None:
    text = (
        "source,match,code,concept,scale,role,label,colour\n"
        "ours,exakt,LAB//1,creatinine,1,measurement,Creatinine,\n"
        "ours,exact,LAB//2,creatinin,1,measurement,,\n"
        "ours,exact,LAB//3,spo2,1,limit,SpO2,\n"
        "ours,exact,LAB//4,sodium,zero,measurement,Sodium,\n"
        "ours,exact,LAB//5,sodium,1,measurement,Potassium,\n"
        "ours,exact,LAB//6,sodium,1,measurement,Sodium,red\n"
    )
    with pytest.raises(SchemaError) as error:
        read_tables(folder(tmp_path, mine=text))
    message = str(error.value)
    for place in (
        "mine.csv line 2, column match:",
        "mine.csv line 3, column concept: must be a known concept; got 'creatinin'. Did you mean 'creatinine'?",
        "mine.csv line 4, column role:",
        "mine.csv line 5, column scale:",
        "mine.csv line 6, column label:",
        "mine.csv line 7, column colour: is no column of this table.",
    ):
        assert place in message


def test_a_unit_gives_the_conversion(tmp_path: Path) -> None:
    """Of its concept, of a concept of one's own, or as another concept spells the same unit."""
    rows = ("A,creatinine,umol/L", "B,temperature,degF", "C,procalcitonin,ng/mL", "D,procalcitonin,ug/L", "E,mch,pg")
    own = read_tables(folder(tmp_path, concepts=CONCEPT, codes="\n".join(["code,concept,unit", *rows])), source="ours")
    assert own.codes["scale"].to_list() == pytest.approx([0.01131, 5 / 9, 1.0, 1.0, 1.0], rel=1e-3)
    assert own.codes["offset"].to_list() == pytest.approx([0, -160 / 9, 0, 0, 0])


def test_a_unit_that_does_not_fit_is_named(tmp_path: Path) -> None:
    text = "code,concept,unit,scale\nA,creatinine,umol/L,1\nB,lactate,furlong,\nC,lactate,furlong,2\n"
    with pytest.raises(SchemaError) as error:
        read_tables(folder(tmp_path, codes=text), source="ours")
    message = str(error.value)
    assert "line 2, column unit: creatinine in umol/L needs scale 0.0113096; got scale 1." in message
    assert "line 3, column unit: must be one of mmol/L, mg/dL, or have a scale beside it; got 'furlong'." in message
    assert "line 4" not in message


def test_a_missing_column_and_a_missing_source_are_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="must have the columns source, concept"):
        read_tables(folder(tmp_path, mine="code\nLAB//1\n"))


def test_a_place_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="Give the place of your tables"):
        read_tables(tmp_path)


def test_codes_are_checked_against_a_dictionary(tmp_path: Path) -> None:
    words = tmp_path / "d_items.csv"
    words.write_text("itemid,label\n7,Heart Rate\n8,Heart Rate Alarm - High\n")
    assert read_dictionary(words).rows() == [("7", "Heart Rate"), ("8", "Heart Rate Alarm - High")]
    mine = tmp_path / "mine.csv"
    mine.write_text("source,code,concept,label\nours,CHART//7//bpm,heart_rate,Heart Rate\n")
    assert read_tables(mine, dictionary=words).codes.height == 1
    mine.write_text("source,code,concept,label\nours,CHART//8//bpm,heart_rate,Heart Rate\n")
    with pytest.raises(SchemaError, match="must be the dictionary's 'Heart Rate Alarm - High'"):
        read_tables(mine, dictionary=words)
    with pytest.raises(SchemaError, match="must have the columns id"):
        read_dictionary(folder(tmp_path, words="number,words\n7,Heart Rate\n") / "words.csv")
