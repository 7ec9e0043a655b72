"""A hospital's own tables by one YAML file: what is read, and what is said of a mistake."""

import gzip
import shutil
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.raw_sources import codes_and_times, concepts_of, read_source, told
from sojourn.errors import ConfigError, DataError, MissingTableError, SchemaError
from sojourn.pipeline import build, ingest
from sojourn.sources.csv_mapping import SOURCE
from sojourn.sources.csv_mapping.draft import draft_mapping
from sojourn.sources.csv_mapping.expressions import number
from sojourn.sources.csv_mapping.reading import Subjects
from sojourn.sources.identity import hashed
from sojourn.tasks.label import label

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_export"
MAPPING = """site: st-test
subject: {column: stays.patient, ids: text}
defaults:
  separator: ";"
  encoding: latin-1
  decimal: ","
  nulls: [n/a]
  time_format: "%d.%m.%Y %H:%M"
tables:
  stays:
    file: stays.csv
    key: case
    subject: patient
    sex: {column: sex, values: {x: F}}
    birth: {age: age, at: "in"}
    static: {INSURANCE: insurance}
    hospital_stay: {start: came, end: went, died: {column: how, is: [dead]}}
    icu_stay: {start: "in", end: out, type: ward, died: {column: how, is_not: [home, ward]}}
    death: {column: out, when: {column: how, is: dead}}
  labs:
    file: labs_*.csv
    join: {stays: case}
    events:
      - code: LAB//{item}//{unit}
        time: {column: minutes, unit: minutes, since: stays.in}
        value: result
  drugs:
    file: drugs.tsv
    separator: "\\t"
    join: {stays: case}
    events:
      - code: INFUSION_START//{drug}//{unit}
        time: start
        value: rate
        end: stop
        end_code: INFUSION_END//{drug}
        when: {column: status, is_not: cancelled}
codes:
  - {code: LAB//Krea//µmol/l, concept: creatinine, unit: µmol/L, scale: 0.01131}
"""
STAYS = """case;patient;sex;age;insurance;came;went;in;out;ward;how
A;p1;m;50;public;01.01.2020;05.01.2020;01.01.2020 10:00;03.01.2020 10:00;Süd;home
B;p2;x;>89;n/a;01.02.2020;04.02.2020;01.02.2020 10:00;04.02.2020 10:00;Süd;dead
C;p3;;;;;;02.03.2020 10:00;;;
"""
LABS_1 = """case;minutes;item;unit;result
A;30;Krea;µmol/l;1.234,5
A;-60;Krea;µmol/l;<0,5
A;30;Nitrit;;negativ
A;30;Krea;µmol/l;n/a
Z;30;Krea;µmol/l;80
"""
LABS_2 = """case;minutes;item;unit;result
B;30;;µmol/l;80
B;soon;Krea;µmol/l;80
B;30;Krea
B;30;Puls;/min;80
"""
DRUGS = """case\tdrug\tunit\trate\tstart\tstop\tstatus
A\tNorepi\tmcg/kg/min\t0,1\t01.01.2020 12:00\t01.01.2020 14:00\tdone
A\tNorepi\tmcg/kg/min\t0,1\t01.01.2020 15:00\t01.01.2020 16:00\tcancelled
A\tNorepi\tmcg/kg/min\t0,2\t01.01.2020 17:00\t\tdone
"""


def write(folder: Path, mapping: str = MAPPING, **files: str) -> Path:
    """A raw folder; names of files have ``__`` for the dot."""
    folder.mkdir(exist_ok=True)
    default = {"stays__csv": STAYS, "labs_1__csv": LABS_1, "labs_2__csv": LABS_2, "drugs__tsv": DRUGS}
    for name, text in (default | files).items():
        (folder / name.replace("__", ".")).write_bytes(text.encode("latin-1"))
    (folder / "mapping.yaml").write_text(mapping, encoding="utf-8")
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write(tmp_path / "raw")


def small(folder: Path, table: str, text: str) -> Path:
    """A raw folder of one table ``t.csv`` with integer subjects in the column `who`."""
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(text, encoding="utf-8")
    (folder / "mapping.yaml").write_text(f"subject: who\ntables:\n  t:\n    file: t.csv\n{table}", encoding="utf-8")
    return folder


# -- what is read ---------------------------------------------------------------------------------------------------


def test_people_stays_and_deaths(raw: Path) -> None:
    batches, warnings = read_source(SOURCE, raw)
    assert warnings == []
    living = dict(codes_and_times(batches["stays"], hashed("p1")))
    assert living == {
        "GENDER//M": None,
        "INSURANCE//public": None,
        "MEDS_BIRTH": datetime(1969, 12, 31, 22),
        "HOSPITAL_ADMISSION": datetime(2020, 1, 1, 23, 59, 59),
        "HOSPITAL_DISCHARGE//ALIVE": datetime(2020, 1, 5, 23, 59, 59),
        "ICU_ADMISSION//Süd": datetime(2020, 1, 1, 10),
        "ICU_DISCHARGE//ALIVE": datetime(2020, 1, 3, 10),
    }
    dead = dict(codes_and_times(batches["stays"], hashed("p2")))
    assert dead["ICU_DISCHARGE//DIED"] == dead["MEDS_DEATH"] == datetime(2020, 2, 4, 10)
    assert "GENDER//F" in dead
    assert "INSURANCE" not in str(dead)
    assert list(dict(codes_and_times(batches["stays"], hashed("p3")))) == ["ICU_ADMISSION"]


def test_results_have_bounds_answers_and_reasons(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["labs"]
    assert told(batch) == [
        (0, "LAB//Krea//µmol/l", 1234.5),
        (1, "LAB//Krea//µmol/l", 0.5),
        (2, "LAB//Nitrit//negativ", None),
        (8, "LAB//Puls//1/min", 80.0),
    ]
    events = batch.events.sort("row")
    assert events["time"].to_list()[:2] == [datetime(2020, 1, 1, 10, 30), datetime(2020, 1, 1, 9)]
    assert events["bound"].to_list()[:2] == [None, "<"]
    assert events["text_value"].to_list() == [None, "<0,5", "negativ", None]
    assert dict(batch.quarantined.select("row", "reason").rows()) == {
        3: "empty_row",
        4: "unknown_stays",
        5: "empty_row",
        6: "unreadable_time",
        7: "malformed_row",
    }
    assert "_stays" not in batch.quarantined["record"].str.join("")[0]


def test_starts_and_ends(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["drugs"]
    assert batch.events.sort("row", "time").select("row", "code", "time").rows() == [
        (0, "INFUSION_START//Norepi//mcg/kg/min", datetime(2020, 1, 1, 12)),
        (0, "INFUSION_END//Norepi", datetime(2020, 1, 1, 14)),
        (2, "INFUSION_START//Norepi//mcg/kg/min", datetime(2020, 1, 1, 17)),
    ]
    assert batch.quarantined.select("row", "reason").rows() == [(1, "empty_row")]


def test_wide_tables_give_an_event_for_each_value(tmp_path: Path) -> None:
    table = "    events: [{time: at, wide: {hr: VITAL//hr//bpm, temp: 'VITAL//{site}//°C'}}]\n"
    raw = small(tmp_path, table, "who,at,hr,temp,site\n1,2020-01-01 10:00,80,37.5,skin\n1,2020-01-01 11:00,,,\n")
    batch = read_source(SOURCE, raw)[0]["t"]
    assert told(batch) == [(0, "VITAL//hr//bpm", 80.0), (0, "VITAL//skin//°C", 37.5)]
    assert batch.quarantined["reason"].to_list() == ["empty_row"]


@pytest.mark.parametrize(
    ("spec", "written", "meant"),
    [
        ("at", "2020-03-01T10:00:00", datetime(2020, 3, 1, 10)),
        ("at", "2020-03-01", datetime(2020, 3, 1, 23, 59, 59)),
        ("{column: at, day: start}", "2020-03-01", datetime(2020, 3, 1)),
        ("{column: at, format: '%d/%m/%y'}", "02/03/20", datetime(2020, 3, 2, 23, 59, 59)),
        ("{column: at, format: ['%d.%m.%Y', '%d.%m.%Y %H:%M']}", "02.03.2020 04:05", datetime(2020, 3, 2, 4, 5)),
        ("at", "2020-07-01T10:00:00Z", datetime(2020, 7, 1, 12)),
        ("at", "2020-07-01 10:00:00+05:00", datetime(2020, 7, 1, 7)),
        ("at", "2020-01-01 10:00:00+00", datetime(2020, 1, 1, 11)),
        ('{column: at, format: "%d.%m.%Y %-H:%M"}', "01.02.2020 7:30", datetime(2020, 2, 1, 7, 30)),
        ("{column: at, zone: UTC}", "2020-01-01 10:00", datetime(2020, 1, 1, 11)),
        ("{column: at, unit: days, since: {at: 1899-12-30}}", "43891.5", datetime(2020, 3, 1, 12)),
        ("{column: at, unit: seconds, since: {column: base}}", "-90", datetime(2019, 12, 31, 23, 58, 30)),
        ("{column: at, unit: milliseconds, since: {column: base, day: start}}", "3600000", datetime(2020, 1, 1, 1)),
    ],
)
def test_times(tmp_path: Path, spec: str, written: str, meant: datetime) -> None:
    raw = small(
        tmp_path, f"    events: [{{code: X, time: {spec}}}]\n", f"who,at,base\n1,{written},2020-01-01T00:00:00\n"
    )
    with (raw / "mapping.yaml").open("a") as file:
        file.write("time_zone: Europe/Vienna\n")
    assert codes_and_times(read_source(SOURCE, raw)[0]["t"], 1) == [("X", meant)]


@pytest.mark.parametrize("offset", ["1e9", "-1e9", "5e15", "1e300"])
def test_a_time_that_no_calendar_has_is_unreadable(tmp_path: Path, offset: str) -> None:
    table = "    events:\n      - {code: A, time: {column: off, unit: hours, since: {at: 2020-01-01}}}\n"
    batches, _ = read_source(SOURCE, small(tmp_path / "raw", table, f"who,off\n1,{offset}\n1,2\n"))
    assert batches["t"].events["time"].to_list() == [datetime(2020, 1, 1, 2)]
    assert batches["t"].quarantined["reason"].to_list() == ["unreadable_time"]


def test_a_value_that_is_no_number_is_no_part_of_the_code(tmp_path: Path) -> None:
    table = '    events:\n      - {code: "LAB//{item}", time: at, value: value}\n'
    rows = "".join(f"1,2020-01-01 10:00,A,{value}\n" for value in ("1e400", "-inf", "nan", "positive", "7"))
    batches, _ = read_source(SOURCE, small(tmp_path / "raw", table, f"who,at,item,value\n{rows}"))
    assert told(batches["t"]) == [
        *((row, "LAB//A", None) for row in range(3)),
        (3, "LAB//A//positive", None),
        (4, "LAB//A", 7.0),
    ]


def test_births_by_date_and_year(tmp_path: Path) -> None:
    raw = small(tmp_path, "    birth: {date: born}\n", "who,born,year\n1,1950-02-03,\n2,,1960\n")
    assert codes_and_times(read_source(SOURCE, raw)[0]["t"], 1) == [("MEDS_BIRTH", datetime(1950, 2, 3))]
    raw = small(tmp_path, "    birth: {year: year}\n", "who,born,year\n1,1950-02-03,\n2,,1960\n")
    assert codes_and_times(read_source(SOURCE, raw)[0]["t"], 2) == [("MEDS_BIRTH", datetime(1960, 7, 1))]


def test_parquet_and_gzip_read_like_text(tmp_path: Path) -> None:
    table = "    events: [{code: 'LAB//{item}', time: at, value: v}]\n"
    raw = small(tmp_path, table, "who,at,item,v\n")
    frame = pl.DataFrame(
        {
            "who": [1],
            "at": pl.Series([datetime(2020, 1, 1, 9)]).dt.replace_time_zone("UTC"),
            "item": ["K"],
            "v": [1.125],
        }
    )
    frame.write_parquet(raw / "t.parquet")
    text = (raw / "mapping.yaml").read_text()
    (raw / "mapping.yaml").write_text(text.replace("t.csv", "t.parquet") + "defaults: {decimal: ','}\n")
    batch = read_source(SOURCE, raw)[0]["t"]
    assert told(batch) == [(0, "LAB//K", 1.125)]
    assert batch.events["time"].to_list() == [datetime(2020, 1, 1, 9)]
    (raw / "t.csv.gz").write_bytes(gzip.compress(b'who,at,item,v\n1,2020-01-01 09:00,K,"1,5"\n'))
    (raw / "mapping.yaml").write_text(text.replace("t.csv", "t.csv.gz") + "defaults: {decimal: ','}\n")
    assert told(read_source(SOURCE, raw)[0]["t"]) == [(0, "LAB//K", 1.5)]


def test_a_quotation_mark_may_be_a_character_like_others(tmp_path: Path) -> None:
    table = "    events: [{time: at, code: 'LAB//{item}', value: value}]\n"
    text = "who,at,item,value\n" + "".join(f"{i},2020-01-01 10:00,{item},{i}\n" for i, item in enumerate('a"bc'))
    batches, _ = read_source(SOURCE, small(tmp_path / "open", table, text))
    assert batches["t"].quarantined.select("row", "reason").rows() == [(1, "unclosed_quote")]
    for quote in ("none", "'"):
        raw = small(tmp_path / "said", table + f'    quote: "{quote}"\n', text)
        batches, warnings = read_source(SOURCE, raw)
        assert (told(batches["t"])[1], warnings) == ((1, 'LAB//"', 1.0), [])
        assert batches["t"].num_rows == 4


def test_a_mark_that_is_never_closed_is_said_of_tables_and_lookups(tmp_path: Path) -> None:
    """49 rows went into one, which gave an event."""
    table = "    join: {n: who}\n    events: [{time: at, code: 'LAB//{item}', value: value}]\n"
    table += "  n:\n    file: n.csv\n    key: id\n"
    rows = "".join(f"{i},2020-01-01 10:00,crea,{i}\n" for i in range(2, 50))
    raw = small(tmp_path, table, f'who,at,value,item\n1,2020-01-01 10:00,1,"crea\n{rows}')
    (raw / "n.csv").write_text('id,name,ward\n1,a,b\n2,a,"b\n3,a,b\n4,a,b\n')
    batches, warnings = read_source(SOURCE, raw)
    assert batches["t"].quarantined.select("row", "reason").rows() == [(0, "unclosed_quote")]
    assert [said.partition(" (from 0)")[0] for said in warnings] == [
        f"{name}: a quotation mark in row {row}" for name, row in (("n.csv", 1), ("t.csv", 0))
    ]
    assert "48 lines" in warnings[1]
    assert warnings[1].endswith("say quote: none.")


def test_sites_are_constant_or_a_column(raw: Path, tmp_path: Path) -> None:
    def site(folder: Path, name: str | None = None) -> list[str]:
        batches = read_source(SOURCE, folder, name)[0]
        return sorted({site for batch in batches.values() for site in batch.events["site"]})

    assert site(raw) == ["st-test"]
    assert site(raw, "here") == ["here"]
    several = small(
        tmp_path / "several", "    site: house\n    events: [{code: X, static: true}]\n", "who,house\n1,a\n2,b\n"
    )
    assert site(several) == ["a", "b"]
    assert site(several, "here") == ["here-a", "here-b"]


def test_whole_numbers_of_subjects_are_kept_and_text_is_always_the_same_number(tmp_path: Path) -> None:
    assert Subjects("integer").numbers(pl.Series(["7", None, "x"])).to_list() == [7, None, None]
    first, again = (Subjects("text").numbers(pl.Series(["P-1", "007", None, "7"])) for _ in range(2))
    assert first.to_list() == again.to_list()
    assert first.n_unique() == 4
    with pytest.raises(ConfigError, match="ids: text"):
        Subjects("integer").numbers(pl.Series(["a", "b"]))


def test_two_ids_with_one_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.sources.csv_mapping.reading.hashed", lambda text: 5)
    subjects = Subjects("text")
    subjects.numbers(pl.Series(["a"]))
    with pytest.raises(DataError, match="different numbers"):
        subjects.numbers(pl.Series(["b"]))


def test_a_repeated_key_is_said(raw: Path) -> None:
    write(raw, stays__csv=STAYS + "A;p9;m;;;;;01.01.2021 10:00;;;\n")
    batches, warnings = read_source(SOURCE, raw)
    assert warnings == ["table stays has 1 rows with a key that an earlier row has: the first counts"] * 2
    assert batches["labs"].events["subject_id"][0] == hashed("p1")


@settings(deadline=None)
@given(st.floats(-1e9, 1e9, allow_nan=False), st.sampled_from([".", ","]))
def test_numbers_survive_either_decimal_sign(value: float, decimal: str) -> None:
    grouped = f"{value:,.4f}"
    written = grouped.translate(str.maketrans(",.", ".,")) if decimal == "," else grouped
    read = pl.DataFrame({"t": [written]}).select(number(pl.col("t"), decimal).struct.field("number")).item()
    assert read == pytest.approx(float(f"{value:.4f}"))


# -- what is said of a mistake --------------------------------------------------------------------------------------


WRONG = {
    "encoding: latin-1": ("quote: ab", "quote must be one character, or none; got 'ab'"),
    "value: result": (
        "value: resutl",
        r"(tables.labs.events[0].value): labs_1.csv has no column 'resutl'. Did you mean result",
    ),
    "since: stays.in": ("since: stays.inn", "stays.csv has no column 'inn'"),
    "{item}": ("{itme}", "labs_1.csv has no column 'itme'. Did you mean item"),
    "labs_*.csv": ("lab_*.csv", "has no file lab_*.csv. Did you mean labs_"),
    "join: {stays: case}": ("join: {stay: case}", "there is no table 'stay'. Did you mean stays"),
    "unit: minutes": ("unit: minuets", "(tables.labs.events[0].time.unit): Input should be 'milliseconds'"),
    "birth: {age": ("brith: {age", "unknown field 'brith'. Did you mean birth"),
    "%d.%m.%Y %H:%M": ("%d.%Q.%Y %H:%M", "'%d.%Q.%Y %H:%M' is no format"),
    "code: LAB//": ("code: CONCEPT//", "must be the hospital's own"),
    "code: INFUSION_START//": ("code: '{drug}'  #", "must begin with a fixed word"),
    "scale: 0.01131}": ("scale: much}", "(codes[0].scale): Input should be a valid number"),
    "site: st-test": ("time_zone: Vienna", "'Vienna' is no time zone"),
    "sex: {column: sex": ("sex: {column: sexx", "stays.csv has no column 'sexx'. Did you mean sex"),
}


@pytest.mark.parametrize("old", list(WRONG))
def test_a_mistake_is_said_with_its_line(raw: Path, old: str) -> None:
    new, said = WRONG[old]
    before, found, _ = MAPPING.partition(old)
    assert found
    write(raw, MAPPING.replace(old, new, 1))
    with pytest.raises((ConfigError, MissingTableError)) as caught:
        read_source(SOURCE, raw)
    assert f"mapping.yaml line {before.count(chr(10)) + 1} (" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    key: case\n", "", "table stays must say which column is its key"),
        ("    file: drugs.tsv\n", "", r"\(tables\.drugs\.file\): the field 'file' is missing"),
        (", since: stays.in", "", "an offset must have both unit and since"),
        ("tables:", "tables: [", r"mapping\.yaml line \d+ must be YAML"),
        (
            "    join: {stays: case}\n    events:\n      - code: INF",
            "    events:\n      - code: INF",
            "no column 'stays.patient'",
        ),
    ],
)
def test_what_is_left_out_is_said(raw: Path, old: str, new: str, said: str) -> None:
    assert old in MAPPING
    write(raw, MAPPING.replace(old, new, 1))
    with pytest.raises((ConfigError, MissingTableError), match=said):
        read_source(SOURCE, raw)


def test_an_unknown_concept_is_said_before_anything_is_read(raw: Path, tmp_path: Path) -> None:
    write(raw, MAPPING.replace("concept: creatinine", "concept: creatinin"))
    with pytest.raises(ConfigError, match=r"\(codes\[0\]\.concept\).*Did you mean creatinine"):
        ingest("csv", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_mapping_and_a_wrong_encoding_are_said(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(DataError, match=r"sojourn mapping"):
        read_source(SOURCE, tmp_path)
    write(raw, MAPPING.replace("encoding: latin-1", "encoding: ascii"))
    with pytest.raises(SchemaError, match="encoding"):
        read_source(SOURCE, raw)


def test_codes_may_stand_in_a_file(raw: Path) -> None:
    head, _, _ = MAPPING.partition("codes:")
    write(
        raw,
        head + "codes_file: codes.csv\n",
        codes__csv="code,concept,scale\nLAB//K,potassium,\nLAB//Krea,creatinine,0.01\n",
    )
    assert SOURCE.codes(raw).select("code", "concept", "scale").rows() == [
        ("LAB//K", "potassium", 1.0),
        ("LAB//Krea", "creatinine", pytest.approx(0.01)),
    ]
    (raw / "codes.csv").write_text("code,concept,scale\nLAB//K,potassium,x\n")
    with pytest.raises(ConfigError, match=r"codes\.csv line 2: scale"):
        SOURCE.codes(raw)


# -- the example that comes with the documentation ------------------------------------------------------------------


def test_the_example_goes_from_tables_to_labels_of_death(tmp_path: Path) -> None:
    report = ingest("csv", EXAMPLE, tmp_path / "meds")
    assert {table.table: table.rows_quarantined for table in report.tables} == {
        "stays": 0,
        "labs": 2,
        "vitals": 1,
        "drugs": 1,
    }
    assert report.sites == {"st-example": 37}
    found = concepts_of(tmp_path / "meds")
    assert found["LAB//Creatinine//µmol/l"] == "creatinine"
    assert found["INFUSION_START//Norepinephrine//mcg/kg/min"] == "norepinephrine//start"
    assert (tmp_path / "meds" / "metadata" / "mapping.yaml").exists()
    build(tmp_path / "store", [tmp_path / "meds"])
    labels = label("icu-death", tmp_path / "store", tmp_path / "labels.parquet")
    died = pl.read_csv(EXAMPLE / "stays.csv", separator=";", encoding="latin-1").filter(pl.col("outcome") == "died")
    assert 0 < labels.num_positive <= died.height
    assert labels.num_labels > 20


# -- a draft --------------------------------------------------------------------------------------------------------


def test_a_draft_of_the_example_can_be_read_as_it_is(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(EXAMPLE, raw)
    (raw / "mapping.yaml").write_text(draft_mapping(raw))
    drafted, _ = read_source(SOURCE, raw)
    written, _ = read_source(SOURCE, EXAMPLE)
    assert {name: batch.events.height for name, batch in drafted.items()} == {
        name: batch.events.height for name, batch in written.items()
    }


def test_a_draft_looks_at_separators_encodings_and_times(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "patient_id,admitted,discharged,status\n1,03/14/2020 10:00,03/15/2020 10:00,expired\n"
    )
    (tmp_path / "b.tsv").write_bytes(
        "patient_id\ttest_name\tresult\tdrawn\n1\tKönig\t1,5\t2020-01-01 10:00\n".encode("latin-1")
    )
    pl.DataFrame({"patient_id": [1], "t": [datetime(2020, 1, 1)], "hr": [80.0], "sbp": [120.0]}).write_parquet(
        tmp_path / "c.parquet"
    )
    text = draft_mapping(tmp_path)
    assert "ids: integer" in text
    assert "encoding: latin-1" in text
    assert 'time_format: ["%m/%d/%Y %H:%M"]' in text
    assert "died: {column: status, is: [expired]}" in text
    assert 'hr: "VITAL//hr"' in text
    (tmp_path / "mapping.yaml").write_text(text)
    batches, _ = read_source(SOURCE, tmp_path)
    assert told(batches["b"]) == [(0, "LAB//König", 1.5)]
    assert ("MEDS_DEATH", datetime(2020, 3, 15, 10)) in codes_and_times(batches["a"], 1)


def test_a_draft_keeps_the_decimal_sign_of_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("patient_id;item;value;drawn\n1;Hb;12,5;2020-01-01 10:00\n")
    (tmp_path / "b.csv").write_text("patient_id;item;value;drawn\n1;pH;7.125;2020-01-01 10:00\n")
    (tmp_path / "c.csv").write_text("patient_id;item;value;drawn\n1;HR;80;2020-01-01 10:00\n")
    text = draft_mapping(tmp_path)
    assert text.count("decimal:") == 2
    (tmp_path / "mapping.yaml").write_text(text)
    batches, _ = read_source(SOURCE, tmp_path)
    assert [told(batches[name])[0][2] for name in "abc"] == [12.5, 7.125, 80.0]


def test_there_is_nothing_to_draft_from_without_tables(tmp_path: Path) -> None:
    with pytest.raises(MissingTableError, match="holds none"):
        draft_mapping(tmp_path)
