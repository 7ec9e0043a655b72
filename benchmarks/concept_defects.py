"""Twelve defects of published concept tables, measured on the open demo data: what their rules give, what ours give.

    SOJOURN_DATA=... python benchmarks/concept_defects.py [NUMBER...]

The rules of the others are as their repositories have them (ricu 0.6 and YAIB's extension of it, OpenICU, BlendedICU;
2025); newer versions may have mended some. Ours is the whole path of `sojourn ingest`: codes, concepts and units.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from common import keep

from sojourn.concepts import code_concepts, concept_table
from sojourn.events.units import marked_shards, read_rules
from sojourn.pipeline import ingest
from sojourn.tasks.reading import mapped_events

Row = dict[str, Any]
_ITEM, _VALUE = pl.col("itemid"), pl.col("valuenum")
RICU = {
    "sodium": (110, 165),
    "hemoglobin": (4, 18),
    "chloride": (80, 130),
    "po2": (40, 600),
    "temperature": (32, 42),
}
"""Limits of ricu, beyond which a value becomes missing."""
_MIMIC = ("hosp/patients", "hosp/admissions", "hosp/labevents", "icu/icustays", "icu/outputevents", "icu/chartevents")
_EICU = ("patient", "lab_SUBSET_pyhealth", "respiratorycharting")
_MG_PER_MEQ = 1.215


def data() -> Path:
    """The folder of open data."""
    return Path(os.environ["SOJOURN_DATA"])


@cache
def ours(source: str) -> pl.DataFrame:
    """Every event of a demo that has a value, as a store has it: `code`, `value`."""
    folder, tables = {"mimic-iv": ("mimic-iv-demo", _MIMIC), "eicu": ("eicu-demo", _EICU)}[source]
    with tempfile.TemporaryDirectory() as place:
        raw, out = Path(place) / "raw", Path(place) / "meds"
        for table in tables:
            (found,) = (data() / folder).glob(f"{table}.*")
            link = raw / table
            link.parent.mkdir(parents=True, exist_ok=True)
            link.with_name(found.name).symlink_to(found)
        ingest(source, raw, out)
        rules = read_rules(out)
        parts = [mapped_events(shard, rules.codes) for _, shard in marked_shards(out, rules)]
    return pl.concat(parts).select("subject_id", "time", "code", value="numeric_value")


def values(source: str, concept: str) -> pl.Series:
    """Our values of a concept."""
    return ours(source).filter(pl.col("code") == f"CONCEPT//{concept}")["value"].drop_nulls()


def chart(*items: int) -> pl.DataFrame:
    """Charted rows of some items."""
    file = data() / "mimic-iv-demo/icu/chartevents.parquet"
    return pl.scan_parquet(file).filter(_ITEM.is_in(items)).collect()


def lab_of_eicu(*names: str) -> pl.DataFrame:
    """Laboratory rows of some tests of the eICU demo that have a number."""
    lab = pl.read_parquet(data() / "eicu-demo/lab_SUBSET_pyhealth.parquet")
    return lab.filter(pl.col("labname").is_in(names), pl.col("labresult").is_not_null())


def stands_for(source: str, concept: str, item: int) -> bool:
    """Whether a code of an item stands for a concept in our tables."""
    levels = pl.col("code").str.split("//").list.get(1, null_on_oob=True)
    mine = code_concepts().filter(pl.col("source") == source, pl.col("concept") == concept)
    return mine.filter(levels == str(item)).height > 0


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _kept(concept: str, found: pl.Series) -> str:
    """The range of our values, and how many our own wide limits call errors: those keep their number too."""
    low, high = concept_table().filter(pl.col("name") == concept).select("min", "max").row(0)
    errors = len(found) - found.is_between(low, high).sum()
    return f"all kept, {found.min():.3g} to {found.max():.3g}; {errors} outside our limits {low:g}-{high:g}"


def _mixed(number: int, what: str, *, table: pl.DataFrame, concept: str, wrong: dict[int, str]) -> Row:
    """A concept that others fill with items that are something else."""
    bad = table.filter(_ITEM.is_in(list(wrong)))
    median = bad["value" if "value" in bad.columns else "valuenum"].median()
    kept = table.filter(_ITEM.is_in([item for item in wrong if stands_for("mimic-iv", concept, item)]))
    return {
        "defect": number,
        "what": what,
        "rows": table.height,
        "theirs": f"{bad.height:,} of {table.height:,} rows ({_share(bad.height, table.height)}) are "
        f"{' or '.join(wrong.values())}, median {median:g}",
        "ours": f"{kept.height:,} such rows",
    }


def urine() -> Iterator[Row]:
    """1: what is drawn back from the stomach counts as urine."""
    items = (226557, 226558, 226559, 226560, 226561, 226563, 226564, 226565, 226566, 226567, 226584, 227510)
    table = pl.read_csv(data() / "mimic-iv-demo/icu/outputevents.csv.gz").filter(_ITEM.is_in(items))
    yield _mixed(1, "urine, MIMIC-IV", table=table, concept="urine_output", wrong={227510: "tube feed residuals"})


def saturation() -> Iterator[Row]:
    """2: the alarm limit of the oximeter counts as a saturation."""
    table = chart(220277, 226253)
    yield _mixed(2, "SpO2, MIMIC-IV", table=table, concept="spo2", wrong={226253: "the alarm limit (Desat Limit)"})


def breathing() -> Iterator[Row]:
    """3: what the ventilator is set to counts as a rate, and so do the patient's own breaths alone."""
    wrong = {224688: "the rate that was set", 224689: "spontaneous breaths alone"}
    table = chart(220210, 224688, 224689, 224690)
    yield _mixed(3, "respiratory rate, MIMIC-IV", table=table, concept="resp_rate", wrong=wrong)


def temperature() -> Iterator[Row]:
    """4: words about the skin are listed as a temperature; values in the other unit are lost."""
    table = chart(223761, 223762, 224027)
    words = table.filter(_ITEM == 224027)
    celsius = table.filter(_ITEM == 223762)["valuenum"].drop_nulls()
    low, high = RICU["temperature"]
    wrong = celsius.filter(~celsius.is_between(low, high))
    found = values("mimic-iv", "temperature")
    yield {
        "defect": 4,
        "what": "temperature, MIMIC-IV",
        "rows": table.height,
        "theirs": f"{words.height:,} rows of text (skin); {len(wrong)} values of the item in °C outside "
        f"{low}-{high} missing, the highest {celsius.max():g}",
        "ours": f"{int(stands_for('mimic-iv', 'temperature', 224027))} rows of text; {_kept('temperature', found)}",
    }


def age() -> Iterator[Row]:
    """5: the age of the anchor year counts as the age at every admission."""
    raw = data() / "mimic-iv-demo"
    stays = pl.read_csv(raw / "icu/icustays.csv.gz", try_parse_dates=True)
    people = pl.read_csv(raw / "hosp/patients.csv.gz")
    known = stays.join(people, on="subject_id").with_columns(
        right=pl.col("anchor_age") + pl.col("intime").dt.year() - pl.col("anchor_year")
    )
    # Our birth is 1 July of the year of birth: at most half a year from what the year alone tells.
    born = pl.datetime(pl.col("anchor_year") - pl.col("anchor_age"), 7, 1)
    mine = (pl.col("intime") - born).dt.total_days() / 365.25
    off = known.select(theirs=(pl.col("right") - pl.col("anchor_age")).abs(), ours=(pl.col("right") - mine).abs())
    wrong = off.filter(pl.col("theirs") >= 1).height
    yield {
        "defect": 5,
        "what": "age, MIMIC-IV",
        "rows": known.height,
        "theirs": f"wrong by a year or more in {wrong} of {known.height} ICU stays ({_share(wrong, known.height)}), "
        f"by up to {off['theirs'].max()} years",
        "ours": f"wrong by a year or more in {off.filter(pl.col('ours') >= 1).height}, by up to "
        f"{off['ours'].max():.1f} years",
    }


def specimens() -> Iterator[Row]:
    """6: venous blood counts as arterial blood."""
    lab = pl.read_csv(data() / "mimic-iv-demo/hosp/labevents.csv.gz", infer_schema_length=None)
    kinds = lab.filter(_ITEM == 52033).select(
        "specimen_id", kind=pl.col("value").str.strip_chars(". ").str.to_lowercase()
    )
    gas = lab.filter(_ITEM == 50821).join(kinds.unique("specimen_id"), on="specimen_id", how="left")
    counts = dict(gas.group_by(pl.col("kind").fill_null("unknown")).len().iter_rows())
    arterial = counts.get("art", 0)
    low, high = RICU["po2"]
    lost = gas.filter(~_VALUE.is_between(low, high)).height
    found = {name: len(values("mimic-iv", name)) for name in ("po2", "venous_po2")}
    yield {
        "defect": 6,
        "what": "pO2, MIMIC-IV",
        "rows": gas.height,
        "theirs": f"{gas.height - arterial} of {gas.height} not known to be arterial; {lost} "
        f"({_share(lost, gas.height)}) outside {low}-{high} missing",
        "ours": f"{found['po2']} arterial or unknown, {found['venous_po2']} as venous_po2, none missing",
    }


def ionised_calcium() -> Iterator[Row]:
    """7: the unit is taken as given, and what does not fit it becomes missing."""
    table = lab_of_eicu("ionized calcium")
    inside = table.filter(pl.col("labresult").is_between(0.5, 2))
    yield _units(7, "ionised calcium, eICU", table.height, inside["labresult"], concept="ionized_calcium")


def magnesium() -> Iterator[Row]:
    """8: mEq/L is divided by the factor that it should be multiplied with."""
    table = lab_of_eicu("magnesium")
    unit = pl.col("labmeasurenameinterface").str.to_lowercase()
    wrong = table.filter(unit == "meq/l")["labresult"]
    divided, multiplied = wrong / _MG_PER_MEQ, wrong * _MG_PER_MEQ
    found = values("eicu", "magnesium")
    near = [int((found - value).abs().min() < 0.01) for value in multiplied]
    yield {
        "defect": 8,
        "what": "magnesium, eICU",
        "rows": table.height,
        "theirs": f"{len(wrong)} rows in mEq/L become {divided.min():.2f} to {divided.max():.2f} mg/dL",
        "ours": f"{sum(near)} of them become {multiplied.min():.2f} to {multiplied.max():.2f} mg/dL",
    }


def inspired_oxygen() -> Iterator[Row]:
    """9: fractions, per cent, hundredths of per cent and L/min stand in one column."""
    chart_file = data() / "eicu-demo/respiratorycharting.parquet"
    is_fio2 = pl.col("respchartvaluelabel").str.to_lowercase().is_in(["fio2", "fio2 (%)", "o2 percentage"])
    charted = pl.read_parquet(chart_file).filter(is_fio2)
    number = pl.col("respchartvalue").cast(pl.String).str.strip_chars(" %").cast(pl.Float64, strict=False)
    table = pl.concat(
        [charted.select(value=number), lab_of_eicu("FiO2").select(value=pl.col("labresult").cast(pl.Float64))]
    ).drop_nulls()
    inside = table.filter(pl.col("value").is_between(21, 100))
    yield _units(9, "FiO2, eICU", table.height, inside["value"], concept="fio2")


def _units(number: int, what: str, total: int, inside: pl.Series, *, concept: str) -> Row:
    """How many values of a concept survive."""
    found = values("eicu", concept)
    middle = f"median {found.median():.3g}, {found.min():.3g} to {found.max():.3g}"
    return {
        "defect": number,
        "what": what,
        "rows": total,
        "theirs": f"{total - len(inside):,} of {total:,} values ({_share(total - len(inside), total)}) missing; "
        f"median of the rest {inside.median():.3g}",
        "ours": f"{max(total - len(found), 0):,} kept apart in their own unit ({_share(total - len(found), total)}); "
        f"{middle}",
    }


def irrigant() -> Iterator[Row]:
    """13, found here: what rinses the bladder counts as urine, about three litres at a time."""
    table = pl.read_csv(data() / "mimic-iv-demo/icu/outputevents.csv.gz").filter(_ITEM.is_in([227488, 227489]))
    out, given = table.filter(_ITEM == 227489)["value"], table.filter(_ITEM == 227488)["value"]
    yield {
        "defect": 13,
        "what": "urine with irrigant, MIMIC-IV (this package until now)",
        "rows": len(out),
        "theirs": f"{len(out)} rows of 227489, median {out.median():g} mL, count as urine; "
        f"{_share(given.sum(), out.sum())} of it is irrigant given (227488)",
        "ours": f"{len(values('mimic-iv', 'urine_irrigant_out'))} rows apart from urine, what was given beside them",
    }


def blended() -> Iterator[Row]:
    """11: two columns exchanged, and a conversion whose name never matches."""
    motor = chart(223901)["valuenum"].drop_nulls()
    best = (motor == 6).sum()
    mine = values("mimic-iv", "gcs_motor")
    yield {
        "defect": 11,
        "what": "GCS motor, MIMIC-IV (BlendedICU)",
        "rows": len(motor),
        "theirs": f"{best:,} of {len(motor):,} scores ({_share(best, len(motor))}) are 6, outside 1-5: missing",
        "ours": f"{(mine == 6).sum():,} scores of 6 kept",
    }
    lab = pl.read_csv(data() / "mimic-iv-demo/hosp/labevents.csv.gz", infer_schema_length=None)
    glucose = lab.filter(_ITEM.is_in([50809, 50931]))["valuenum"].drop_nulls()
    found = values("mimic-iv", "glucose")
    yield {
        "defect": 11,
        "what": "glucose, MIMIC-IV (BlendedICU)",
        "rows": len(glucose),
        "theirs": f"median {glucose.median():g} where mmol/L is meant",
        "ours": f"median {found.median():g} mg/dL, with finger sticks",
    }


def clips() -> Iterator[Row]:
    """12: true extremes become missing."""
    for source in ("mimic-iv", "eicu"):
        for concept, (low, high) in RICU.items():
            found = values(source, concept)
            outside = found.filter(~found.is_between(low, high))
            if len(outside):
                yield {
                    "defect": 12,
                    "what": f"{concept}, {source}",
                    "rows": len(found),
                    "theirs": f"{len(outside)} of {len(found):,} values outside {low}-{high} missing",
                    "ours": _kept(concept, found),
                }


DEFECTS: dict[int, Callable[[], Iterator[Row]]] = {
    1: urine,
    2: saturation,
    3: breathing,
    4: temperature,
    5: age,
    6: specimens,
    7: ionised_calcium,
    8: magnesium,
    9: inspired_oxygen,
    11: blended,
    12: clips,
    13: irrigant,
}
"""The tenth, the urine rule of KDIGO, is measured with the derived scores."""


def main() -> None:
    """Measure the defects that are asked for, or all, and keep all."""
    chosen = [int(argument) for argument in sys.argv[1:]] or list(DEFECTS)
    rows = [row for number in chosen for row in DEFECTS[number]()]
    for row in rows:
        print(f"{row['defect']:2d} {row['what']}: theirs {row['theirs']} | ours {row['ours']}")
    if chosen == list(DEFECTS):
        keep("concept_defects", {"rows": rows})


if __name__ == "__main__":
    main()
