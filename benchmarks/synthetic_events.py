"""Synthetic MEDS data of any size for measurements of speed: ICU-like in shape, not in meaning.

    python benchmarks/synthetic_events.py DATASET [--events 6200000]

485 codes whose frequencies fall off as in a hospital, 3.3 rows to a time stamp on average, whole seconds, two thirds of
the codes with a value recorded to its own tick, a birth and a sex for each subject, a death for one in ten. A hidden
severity drives values, bursts and death. Twelve codes are named as shared concepts, so that a build converts units and
derives outcomes as it does on real data. Rows of one time stamp are in no order, which MEDS allows. A shard is a
function of the seed and its own number, so data of any size need the memory of one shard.
"""

import argparse
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events.meds import write_table
from sojourn.files import write_json

NUM_CODES = 485
EVENTS_PER_SUBJECT = 294
SUBJECTS_PER_SHARD = 5_000
_ROWS_PER_INSTANT = 3.3
_MICROS = 1_000_000
_CONCEPTS = {
    # concept: (rank by frequency, mean, spread, tick, scale that brings the recorded value to the concept's unit)
    "heart_rate": (0, 90.0, 15.0, 1.0, 1.0),
    "map": (1, 80.0, 12.0, 1.0, 1.0),
    "spo2": (2, 96.0, 3.0, 1.0, 1.0),
    "resp_rate": (3, 18.0, 4.0, 1.0, 1.0),
    "temperature": (6, 37.1, 0.7, 0.1, 1.0),
    "glucose": (10, 7.8, 2.5, 0.1, 18.0),
    "potassium": (20, 4.2, 0.6, 0.1, 1.0),
    "creatinine": (24, 110.0, 50.0, 1.0, 1 / 88.4),
    "platelets": (30, 200.0, 80.0, 1.0, 1.0),
    "lactate": (50, 2.0, 1.2, 0.1, 1.0),
    "norepinephrine//start": (80, 0.2, 0.1, 0.01, 1.0),
    "norepinephrine//end": (81, 0.0, 0.0, 0.0, 1.0),
}


class _Codes(NamedTuple):
    """[NUM_CODES] what each code is like."""

    names: pl.Series
    share: npt.NDArray[np.float64]
    has_value: npt.NDArray[np.bool_]
    mean: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    per_unit: npt.NDArray[np.float32]


def make_codes(seed: int) -> tuple[_Codes, pl.DataFrame]:
    """The codes, and their `metadata/codes.parquet`."""
    generator = np.random.default_rng([seed, 0])
    kinds = np.array(["LAB", "CHART", "MEDICATION", "PROCEDURE_START"])[
        generator.choice(4, NUM_CODES, p=[0.45, 0.22, 0.23, 0.1])
    ]
    concepts: list[str | None] = [None] * NUM_CODES
    kinds[[k for k, *_ in _CONCEPTS.values()]] = "CHART"
    names = pl.Series([f"{kind}//{200_000 + 37 * k}//unit" for k, kind in enumerate(kinds)])
    share = 1 / (np.arange(NUM_CODES) + 5.0)
    mean = generator.lognormal(3, 1.2, NUM_CODES)
    spread = mean * generator.uniform(0.1, 0.5, NUM_CODES)
    tick = generator.choice([1.0, 0.1, 0.01], NUM_CODES, p=[0.5, 0.35, 0.15])
    scale = np.ones(NUM_CODES)
    for concept, (k, *known) in _CONCEPTS.items():
        concepts[k] = concept
        mean[k], spread[k], tick[k], scale[k] = known
    has_value = np.isin(kinds, ["LAB", "CHART"]) & (tick > 0)
    table = pl.DataFrame(
        {
            "code": names,
            "description": [f"synthetic code {k}" for k in range(NUM_CODES)],
            "parent_codes": [[name.rpartition("//")[0]] for name in names],
            "concept": pl.Series(concepts, dtype=pl.String),
            "scale": scale,
            "offset": np.zeros(NUM_CODES),
        }
    )
    per_unit = 1 / np.where(tick > 0, tick, 1)
    numbers = [array.astype(np.float32) for array in (mean, spread, per_unit)]
    return _Codes(names, share / share.sum(), has_value, *numbers), table


def make_shard(codes: _Codes, *, seed: int, index: int, num_subjects: int) -> pl.DataFrame:
    """One shard: subject_id, time, code, numeric_value, sorted by subject and time."""
    generator = np.random.default_rng([seed, 1, index])
    severity = generator.normal(0, 1, num_subjects)
    mean_instants = (EVENTS_PER_SUBJECT - 3) / _ROWS_PER_INSTANT
    instants = 1 + generator.poisson(mean_instants * generator.gamma(2, 0.5, num_subjects))
    owner = np.repeat(np.arange(num_subjects), instants)
    gap = generator.exponential(2400 * np.exp(-0.3 * severity[owner])).astype(np.int64)
    clock = np.cumsum(gap)
    first = np.concatenate([[0], np.cumsum(instants)[:-1]])
    admission = generator.integers(0, 20 * 365 * 86400, num_subjects) + 4_000_000_000
    second = clock - clock[first][owner] + admission[owner]
    rows = generator.geometric(1 / _ROWS_PER_INSTANT, len(owner))
    subject, time = np.repeat(owner, rows), np.repeat(second, rows)
    code = np.searchsorted(np.cumsum(codes.share)[:-1], generator.random(len(subject))).astype(np.uint32)
    noise = generator.standard_normal(len(subject), np.float32) + 0.5 * severity.astype(np.float32)[subject]
    raw = np.maximum(codes.mean[code] + codes.spread[code] * noise, 0)
    value = np.rint(raw * codes.per_unit[code]) / codes.per_unit[code]
    events = pl.DataFrame(
        {
            "subject_id": subject + index * num_subjects,
            "time": pl.Series(time * _MICROS).cast(pl.Datetime("us")),
            "code": codes.names.gather(code),
            "numeric_value": np.where(codes.has_value[code], value, np.float32(np.nan)),
        }
    ).with_columns(pl.col("numeric_value").fill_nan(None))
    last = second[np.cumsum(instants) - 1]
    fates = _fates(generator, severity, admission=admission, last=last, first_id=index * num_subjects)
    return pl.concat([*fates, events]).sort("subject_id", "time", maintain_order=True)


def _fates(
    generator: np.random.Generator,
    severity: npt.NDArray[np.float64],
    *,
    admission: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    first_id: int,
) -> list[pl.DataFrame]:
    """Sex, birth, and death of some."""
    num = len(severity)
    ids = np.arange(first_id, first_id + num)
    years = generator.uniform(18, 90, num)
    birth = admission - (years * 365.25 * 86400).astype(np.int64)
    dies = generator.random(num) < 1 / (1 + np.exp(2.5 - severity))
    sex = pl.Series(["GENDER//F", "GENDER//M"]).gather(generator.integers(0, 2, num))
    told = [
        (ids, None, sex),
        (ids, birth, "MEDS_BIRTH"),
        (ids[dies], last[dies] + 3600, "MEDS_DEATH"),
    ]
    return [
        pl.DataFrame({"subject_id": who}).with_columns(
            time=pl.lit(None if when is None else pl.Series(when * _MICROS)).cast(pl.Datetime("us")),
            code=pl.lit(what),
            numeric_value=pl.lit(None, pl.Float32),
        )
        for who, when, what in told
    ]


def write_synthetic(folder: Path, num_events: int, *, seed: int = 0) -> Path:
    """Write a MEDS data set of about so many rows, split 90/5/5 by shard, unless it is there already.

    Subjects of tuning and held-out are in shards of their own, as MEDS-transforms wants them.
    """
    if (folder / "metadata" / "dataset.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    codes, table = make_codes(seed)
    num_subjects = max(round(num_events / EVENTS_PER_SUBJECT), 40)
    per_shard = min(SUBJECTS_PER_SHARD, num_subjects // 20)
    splits = []
    for index in range(-(-num_subjects // per_shard)):
        shard = make_shard(codes, seed=seed, index=index, num_subjects=per_shard)
        split = {0: "tuning", 1: "held_out"}.get(index % 20, "train")
        write_table(shard, folder / "data" / split / f"{index}.parquet")
        splits.append(shard.select(pl.col("subject_id").unique(maintain_order=True), split=pl.lit(split)))
    write_table(table, folder / "metadata" / "codes.parquet")
    write_table(pl.concat(splits), folder / "metadata" / "subject_splits.parquet")
    about = {"dataset_name": "synthetic events", "dataset_version": str(seed), "meds_version": "0.4.0"}
    write_json(folder / "metadata" / "dataset.json", about)
    return folder


def main() -> None:
    """Write one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--events", type=int, default=6_200_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_synthetic(given.dataset, given.events, seed=given.seed)


if __name__ == "__main__":
    main()
