# ruff: noqa: E501  (the raw tables stand here as they are)
"""AmsterdamUMCdb: patients with several admissions, milliseconds since the first, Dutch words in Latin-1.

The tables are written by hand in the published layout; no patient stands behind them.
"""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from helpers.raw_sources import codes_and_times, concepts_of, read_source, told
from sojourn.errors import MissingTableError
from sojourn.pipeline import build, ingest
from sojourn.sources.aumcdb import SOURCE
from sojourn.sources.aumcdb.known import DEFAULT_YEAR, middle
from sojourn.tasks.label import label

HOUR = 3_600_000
ADMISSIONS = f"""patientid,admissionid,admissioncount,location,urgency,origin,admittedat,admissionyeargroup,dischargedat,lengthofstay,destination,gender,agegroup,dateofdeath,weightgroup,weightsource,heightgroup,heightsource,specialty
1,10,1,IC,1,Eerste Hulp,0,2003-2009,{72 * HOUR},72,Verpleegafdeling,Man,60-69,{5000 * HOUR},80-89,Gemeten,170-179,Gemeten,Cardiologie
1,11,2,IC&MC,0,,{1000 * HOUR},2010-2016,{1060 * HOUR},60,Overleden,Man,60-69,{1061 * HOUR},110+,,,,Cardiologie
2,20,1,IC,0,,0,2010-2016,{50 * HOUR},50,Overleden,Vrouw,80+,{900 * HOUR},59-,,159-,,Neurologie
3,30,1,MC,0,,0,,{30 * HOUR},30,,,,,,,,,
""".replace(f"{5000 * HOUR}", f"{1061 * HOUR}")
NUMERIC = f"""admissionid,itemid,item,tag,value,unitid,unit,comment,measuredat,registeredat,registeredby,updatedat,updatedby,islabresult,fluidout
10,6836,Kreatinine µmol/l (bloed),,100,1,µmol/l,,{HOUR},{HOUR},x,,,1,
10,6807,B.E. (bloed),-,3,1,mmol/l,,{HOUR},{HOUR},x,,,1,
10,10079,CRP (bloed),<,1,1,mg/l,,{HOUR},{HOUR},x,,,1,
10,6640,Hartfrequentie,,80,15,/min,,{HOUR},{HOUR},x,,,0,
10,6848,pH (bloed),,7.4,1,Geen,hemolyse,{HOUR},{HOUR},x,,,1,
10,6640,Hartfrequentie,,,15,/min,,{HOUR},{HOUR},x,,,0,
99,6640,Hartfrequentie,,80,15,/min,,{HOUR},{HOUR},x,,,0,
20,6640,Hartfrequentie,,80,15,/min,,,{HOUR},x,,,0,
"""
LISTS = f"""admissionid,itemid,item,valueid,value,measuredat,registeredat,registeredby,updatedat,updatedby,islabresult
10,6732,Actief openen van de ogen,1,Spontane reactie,{HOUR},{HOUR},x,,,0
10,6734,Beste motore reactie van de armen,2,Localiseert pijn,{HOUR},{HOUR},x,,,0
10,13066,A_Verbal,0,Geïntubeerd,{HOUR},{HOUR},x,,,0
10,9534,Type beademing,9,Tube,{HOUR},{HOUR},x,,,0
"""
FREETEXT = f"""admissionid,itemid,item,value,comment,measuredat,registeredat,registeredby,updatedat,updatedby,islabresult
10,11646,Afname (bloed),ART.,,{HOUR},{HOUR},x,,,1
10,8189,Toedieningsweg,naar inzicht,,{HOUR},{HOUR},x,,,0
"""
DRUGS = f"""admissionid,orderid,ordercategoryid,ordercategory,itemid,item,isadditive,isconditional,rate,rateunit,rateunitid,ratetimeunitid,doserateperkg,dose,doseunit,doserateunit,doseunitid,doserateunitid,administered,administeredunit,administeredunitid,action,start,stop,duration,solutionitemid,solutionitem,solutionadministered,solutionadministeredunit,fluidin,iscontinuous
10,1,65,2. Spuitpompen,7229,Noradrenaline (Norepinefrine),0,0,4,ml/uur,1,5,0,0.51,mg,uur,10,5,1,mg,10,Nieuw,{HOUR},{3 * HOUR},120,,,,,8,1
10,2,65,2. Spuitpompen,7229,Noradrenaline (Norepinefrine),0,0,4,ml/uur,1,5,1,0.1,µg,min,11,4,1,mg,10,Nieuw,{3 * HOUR},{4 * HOUR},60,,,,,8,1
10,3,15,Injecties Antimicrobiele middelen,6919,Cefotaxim (Claforan),0,0,,,,,0,1000,mg,,10,,1000,mg,10,Nieuw,{2 * HOUR},{2 * HOUR},1,,,,,0,0
10,4,65,2. Spuitpompen,7480,Propofol (Diprivan),0,0,10,ml/uur,1,5,0,200,mg,uur,10,5,1,mg,10,Nieuw,{5 * HOUR},{4 * HOUR},60,,,,,8,1
"""
ORDERS = f"""admissionid,orderid,ordercategoryid,ordercategoryname,itemid,item,registeredat,registeredby
10,1,1,Kweek,9189,Bloedkweken afnemen,{HOUR},x
"""
PROCESSES = f"""admissionid,itemid,item,start,stop,duration
10,9328,Beademen,{HOUR},{20 * HOUR},1140
20,9328,Beademen,{20 * HOUR},{HOUR},-1140
"""
TABLES = {
    "admissions.csv": ADMISSIONS,
    "numericitems.csv": NUMERIC,
    "listitems.csv": LISTS,
    "freetextitems.csv": FREETEXT,
    "drugitems.csv": DRUGS,
    "procedureorderitems.csv": ORDERS,
    "processitems.csv": PROCESSES,
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, text in TABLES.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    return folder


def test_a_patient_has_all_admissions_on_one_clock(raw: Path) -> None:
    batches, warnings = read_source(SOURCE, raw)
    assert warnings == []
    seen = codes_and_times(batches["admissions"], 1)
    assert [time for code, time in seen if code.startswith("ICU_ADMISSION")] == [
        datetime(2003, 1, 1),
        datetime(2003, 2, 11, 16),
    ]
    assert ("ICU_ADMISSION//IC//Eerste Hulp", datetime(2003, 1, 1)) in seen
    assert ("ADMISSION//urgent", datetime(2003, 1, 1)) in seen
    assert [code for code, time in seen if time is None] == ["GENDER//M"]
    births = [time for code, time in seen if code == "MEDS_BIRTH"]
    assert [round((datetime(2003, 1, 1) - born).days / 365.25) for born in births if born] == [65]


def test_a_death_in_the_unit_ends_the_stay_and_the_life_together(raw: Path) -> None:
    seen = codes_and_times(read_source(SOURCE, raw)[0]["admissions"], 1)
    death = datetime(2003, 2, 14, 4)
    assert [(code, time) for code, time in seen if "DISCHARGE" in code or code == "MEDS_DEATH"] == [
        ("ICU_DISCHARGE//ALIVE", datetime(2003, 1, 4)),
        ("ICU_DISCHARGE//DIED", death),
        ("MEDS_DEATH", death),
    ]


def test_a_death_weeks_after_the_unit_is_no_unit_death(raw: Path) -> None:
    seen = dict(codes_and_times(read_source(SOURCE, raw)[0]["admissions"], 2))
    assert seen["ICU_DISCHARGE//ALIVE"] == datetime(2010, 1, 3, 2)
    assert seen["MEDS_DEATH"] == datetime(2010, 2, 7, 12)


def test_an_unknown_destination_is_neither_alive_nor_dead(raw: Path) -> None:
    seen = dict(codes_and_times(read_source(SOURCE, raw)[0]["admissions"], 3))
    assert "ICU_DISCHARGE" in seen
    assert not {"MEDS_DEATH", "MEDS_BIRTH"} & set(seen)


def test_numbers_that_no_stay_can_have_are_unknown(raw: Path) -> None:
    odd = ADMISSIONS.replace("3,30,1,MC,0,,0,,", "3,30,1,MC,0,,0,99999999,").replace("80+", f"{10**20}-")
    (raw / "admissions.csv").write_text(odd, encoding="latin-1")
    items = NUMERIC + "10,6640,Hartfrequentie,,80,15,/min,,1e30,0,x,,,0,\n"
    (raw / "numericitems.csv").write_text(items, encoding="latin-1")
    batches, _ = read_source(SOURCE, raw)
    assert "MEDS_BIRTH" not in dict(codes_and_times(batches["admissions"], 2))
    assert dict(codes_and_times(batches["admissions"], 3))["ICU_ADMISSION//MC"] == datetime(DEFAULT_YEAR, 1, 1)
    assert pl.select(middle(pl.lit("٦٠-٦٩"), 10)).item() is None, "digits of another script are no number"
    assert batches["numericitems"].quarantined.filter(pl.col("row") == 8)["reason"].to_list() == ["no_time"]


def test_groups_stand_at_their_middle(raw: Path) -> None:
    frame = pl.DataFrame({"g": ["60-69", "80+", "59-", "159-", "190+", "x", None]})
    assert frame.select(middle(pl.col("g"), 10)).to_series().to_list() == [65, 85, 55, 155, 195, None, None]
    events = read_source(SOURCE, raw)[0]["admissions"].events.filter(pl.col("code").str.starts_with("ADMISSION//w"))
    assert events.select("numeric_value", "text_value").rows() == [(85.0, "80-89"), (115.0, "110+"), (55.0, "59-")]


def test_numbers_have_units_bounds_and_signs(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["numericitems"]
    assert told(batch) == [
        (0, "NUMERIC//6836//µmol/l", 100.0),
        (1, "NUMERIC//6807//mmol/l", -3.0),
        (2, "NUMERIC//10079//mg/l", 1.0),
        (3, "NUMERIC//6640//1/min", 80.0),
        (4, "NUMERIC//6848", pytest.approx(7.4)),
    ]
    assert batch.events.sort("row")["bound"].to_list() == [None, None, "<", None, None]
    assert batch.events.sort("row")["time"].unique().to_list() == [datetime(2003, 1, 1, 1)]
    reasons = dict(batch.quarantined.select("row", "reason").rows())
    assert reasons == {5: "no_number", 6: "no_subject", 7: "no_time"}


def test_lists_of_the_coma_scale_are_scores(raw: Path) -> None:
    assert told(read_source(SOURCE, raw)[0]["listitems"]) == [
        (0, "LIST//6732//Spontane reactie", 4.0),
        (1, "LIST//6734//Localiseert pijn", 5.0),
        (2, "LIST//13066//Geïntubeerd", None),
        (3, "LIST//9534//Tube", None),
    ]


def test_answers_of_the_laboratory_are_codes_and_other_text_is_text(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["freetextitems"]
    assert told(batch) == [(0, "FREETEXT//11646//ART", None), (1, "FREETEXT//8189", None)]
    assert batch.events.sort("row")["text_value"].to_list() == ["ART.", "naar inzicht"]


def test_vasoactive_rates_are_by_weight_and_minute(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["drugitems"]
    assert told(batch) == [
        (0, "DRUG//7229//start//mcg/kg/min", pytest.approx(0.51 * 1000 / 60 / 85)),
        (0, "DRUG_END//7229", None),
        (1, "DRUG//7229//start//mcg/kg/min", pytest.approx(0.1)),
        (1, "DRUG_END//7229", None),
        (2, "DRUG//6919//dose//mg", 1000.0),
    ]
    assert batch.events.sort("row", "code")["text_value"].to_list()[0] == "0.51 mg/h"
    assert batch.quarantined.select("row", "reason").rows() == [(3, "ends_before_start")]


def test_orders_and_processes(raw: Path) -> None:
    batches, _ = read_source(SOURCE, raw)
    assert told(batches["procedureorderitems"]) == [(0, "PROCEDURE_ORDER//9189", None)]
    assert told(batches["processitems"]) == [(0, "PROCESS//9328//end", None), (0, "PROCESS//9328//start", None)]
    assert batches["processitems"].quarantined["reason"].to_list() == ["ends_before_start"]


def test_items_keep_their_names(raw: Path) -> None:
    named = dict(SOURCE.codes(raw).select("code", "description").rows())
    assert named["NUMERIC//6836"] == "Kreatinine µmol/l (bloed)"
    assert named["DRUG_END//7229"] == named["DRUG//7229"] == "Noradrenaline (Norepinefrine)"


def test_what_is_missing_is_said(raw: Path) -> None:
    (raw / "drugitems.csv").unlink()
    (raw / "processitems.csv").write_text("admissionid,itemid,start,stop\n")
    (raw / "numericitems.csv").write_text("admissionid,itemid,value,measuredat\n10,6640,80,0\n")
    batches, warnings = read_source(SOURCE, raw)
    assert "table drugitems is missing: drugs, vasopressors among them will be missing" in warnings
    assert "column unit of numericitems is missing: it is taken as unknown" in warnings
    assert told(batches["numericitems"]) == [(0, "NUMERIC//6640", 80.0)]
    (raw / "admissions.csv").unlink()
    with pytest.raises(MissingTableError, match="admissions"):
        read_source(SOURCE, raw)


def test_from_raw_tables_to_labels_of_death(raw: Path, tmp_path: Path) -> None:
    report = ingest("aumcdb", raw, tmp_path / "meds")
    assert report.sites == {"aumcdb": 3}
    assert {
        "NUMERIC//6836//µmol/l": "creatinine",
        "NUMERIC//6640//1/min": "heart_rate",
        "NUMERIC//6807//mmol/l": "base_excess",
        "LIST//6732//Spontane reactie": "gcs_eye",
        "DRUG//7229//start//mcg/kg/min": "norepinephrine//start",
        "DRUG_END//7229": "norepinephrine//end",
        "DRUG//6919//dose//mg": "antibiotic//start",
        "PROCESS//9328//start": "ventilation//start",
        "ADMISSION//weightgroup//kg": "weight",
    }.items() <= concepts_of(tmp_path / "meds").items()
    build(tmp_path / "store", [tmp_path / "meds"])
    labels = label("icu-death", tmp_path / "store", tmp_path / "labels.parquet")
    assert (labels.num_labels, labels.num_positive) == (4, 1)
