"""How often unit inference converts values wrongly, refuses, or is right: hospitals whose units are known.

    python benchmarks/unit_inference.py WORK [--seeds 0 1 2 3 4] [--data MEDS...]

Two kinds of hospital. *Simulated*: 16 of `sojourn.sources.simulator` a seed, which knows nothing of the tables of
units. *Resampled*: hospitals drawn from real MEDS data sets (--data; none: left out), each a random set of patients.
Every pair of a hospital and a concept gets a true unit at random from those in use for the concept, is recorded
in it with three significant digits, and is declared rightly (half of the pairs), as another unit (a quarter) or not at
all (a quarter). Whole patients are added until there are 10, 30, 100 or 1,000 values. One FiO2 in five is recorded in
two units. Wrong is a pair of which any value is converted by more than 2 % to what it is not.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from common import keep

import sojourn as sj
from sojourn.concepts.units import infer_units
from sojourn.concepts.units.known import Unit, expected_table, units_of
from sojourn.events import meds
from sojourn.events.units import REFUSED, read_units
from sojourn.sources.simulator import default_config, write_config

SIZES = (10, 30, 100, 1000)
NUM_SITES, STAYS = 16, 120
RESAMPLED_SITES = 8
TOLERANCE = 0.02
ARMS = ("right", "wrong", "none")
_MIXED_SHARE = 0.2


class Pair(NamedTuple):
    """A concept at a hospital, with what nobody told the inference."""

    site: str
    concept: str
    arm: str
    truth: tuple[Unit, ...]
    """The true unit, or two of a mixture."""
    declared: Unit | None
    values: pl.DataFrame
    """subject_id, value (recorded), unit (index into `truth`)."""


def main() -> None:
    """Run all seeds and sizes, print the summary and write `results/unit_inference.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--name", default="unit_inference")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        kinds = {"simulated": _simulated(given.work, seed), "resampled": _resampled(given.data, seed)}
        for kind, pools in kinds.items():
            for size in SIZES if pools else ():
                rows += [row | {"kind": kind, "seed": seed, "size": size} for row in _run(pools, size, seed)]
    found = pl.DataFrame(rows)
    result = {
        "seeds": given.seeds,
        "overall": _summary(found, "kind", "size"),
        "by_seed": _summary(found, "kind", "seed"),
        "by_arm": _summary(found.filter(pl.col("num_units") > 1), "kind", "arm", "size"),
        "by_concept": _summary(found, "kind", "concept"),
        "confusion": _confusion(found),
    }
    for part in ("overall", "by_arm"):
        print(pl.DataFrame(result[part]))
    keep(given.name, result)


def _simulated(work: Path, seed: int) -> dict[tuple[str, str], pl.DataFrame]:
    """(hospital, concept) -> subject_id and value in the concept's unit, of a simulated network."""
    out = work / f"simulated-{seed}"
    if not out.exists():
        config = default_config(num_sites=NUM_SITES, stays_per_site=STAYS, seed=seed)
        truth = config.truth.model_copy(update={"states": False, "risks": False})
        path = write_config(config.model_copy(update={"truth": truth}), work / f"simulated-{seed}.yaml")
        sj.ingest("simulator", path, out)
    return _by_site(out)


def _by_site(dataset: Path) -> dict[tuple[str, str], pl.DataFrame]:
    """Values of all concepts with an expected distribution, in the concept's unit, as the data set declares them."""
    events = _values(dataset).sort("site", "concept", "subject_id", maintain_order=True)
    parts = events.partition_by("site", "concept", as_dict=True, maintain_order=True)
    return {(site, concept): part.select("subject_id", "value") for (site, concept), part in parts.items()}


def _values(dataset: Path) -> pl.DataFrame:
    """`site`, `concept`, `subject_id`, `value`."""
    codes = meds.read_codes(dataset).filter(pl.col("concept").is_in(expected_table()["concept"].implode()))
    codes = codes.select("code", "concept", "scale", "offset")
    value = pl.col("numeric_value").cast(pl.Float64) * pl.col("scale") + pl.col("offset")
    scans = [scan.join(codes.lazy(), on="code", how="inner") for _, scan in meds.iterate_shards(dataset)]
    told = pl.concat(scan.select("site", "concept", "subject_id", value=value).collect() for scan in scans)
    return told.filter(pl.col("value") > 0)


def _resampled(datasets: Sequence[Path], seed: int) -> dict[tuple[str, str], pl.DataFrame]:
    """(hospital, concept) -> values of random patients of one real data set."""
    found = {}
    for dataset in datasets:
        values = _values(dataset).partition_by("concept", as_dict=True, maintain_order=True)
        for (concept,), part in sorted(values.items()):
            rng = np.random.default_rng([seed, len(concept), *map(ord, dataset.name + str(concept))])
            subjects = part["subject_id"].unique().sort()
            for number in range(RESAMPLED_SITES):
                chosen = rng.choice(len(subjects), size=min(len(subjects), 400), replace=False)
                keys = pl.DataFrame({"subject_id": subjects.gather(chosen[: max(len(chosen) // 3, 1)])})
                found[f"{dataset.name}-{number}", str(concept)] = keys.join(
                    part, on="subject_id", maintain_order="left"
                )
    return found


def _pairs(pools: dict[tuple[str, str], pl.DataFrame], size: int, seed: int) -> Iterator[Pair]:
    """Draw units, declarations and patients."""
    rng = np.random.default_rng([seed, size, 77])
    for (site, concept), pool in pools.items():
        units = units_of(concept)
        subjects = pool["subject_id"].unique(maintain_order=True)
        order = pl.DataFrame({"subject_id": subjects.gather(rng.permutation(len(subjects)))})
        values = order.join(pool, on="subject_id", how="left", maintain_order="left_right").head(size)
        true = int(rng.integers(len(units)))
        truth = (units[true],)
        if concept == "fio2" and rng.random() < _MIXED_SHARE:
            truth = units[:2]
        arm = str(rng.choice(ARMS, p=[0.5, 0.25, 0.25])) if len(units) > 1 else "right"
        others = [unit for unit in units if unit not in truth] or list(units)
        declared = {"right": truth[0], "wrong": others[int(rng.integers(len(others)))], "none": None}[arm]
        unit = rng.integers(len(truth), size=len(values))
        recorded = np.empty(len(values))
        for k, of in enumerate(truth):
            recorded[unit == k] = (values["value"].to_numpy()[unit == k] - of.offset) / of.scale
        told = values.with_columns(value=pl.Series(_three_digits(recorded)), unit=pl.Series(unit))
        yield Pair(site, concept, arm, truth, declared, told.filter(pl.col("value") > 0))


def _three_digits(values: np.ndarray) -> np.ndarray:
    """As a laboratory reports them."""
    power = np.floor(np.log10(np.abs(np.where(values == 0, 1, values))))
    step = 10.0 ** (power - 2)
    return np.round(values / step) * step


def _run(pools: dict[tuple[str, str], pl.DataFrame], size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Write the pairs as a data set, infer its units, and judge each pair."""
    pairs = list(_pairs(pools, size, seed))
    with tempfile.TemporaryDirectory() as place:
        dataset = Path(place) / "hospitals"
        _write(pairs, dataset)
        infer_units(dataset)
        units = read_units(dataset)
        shutil.rmtree(dataset)
    assert units is not None
    decided = units.partition_by("code", as_dict=True)
    for pair in pairs:
        code = _code(pair)
        yield {
            "site": pair.site,
            "concept": pair.concept,
            "arm": pair.arm,
            "num_units": len(units_of(pair.concept)),
            "truth": " + ".join(unit.name for unit in pair.truth),
            "declared": pair.declared.name if pair.declared is not None else None,
            **_judge(pair, decided[code,]),
        }


def _code(pair: Pair) -> str:
    return f"LAB//{pair.site}//{pair.concept}"


def _write(pairs: Sequence[Pair], dataset: Path) -> None:
    """A MEDS data set in which every pair has a code of its own, so that no hospital helps another."""
    time = pl.lit(0).cast(pl.Datetime("us"))
    rows = [
        pair.values.select(
            "subject_id", time=time, code=pl.lit(_code(pair)), numeric_value="value", site=pl.lit(pair.site)
        )
        for pair in pairs
    ]
    table = pl.concat(rows).cast({"numeric_value": pl.Float32}).sort("subject_id", maintain_order=True)
    meds.write_table(table, dataset / "data" / "0.parquet")
    codes = [
        {
            "code": _code(pair),
            "concept": pair.concept,
            "unit": pair.declared.name if pair.declared is not None else None,
            "scale": 1.0 if pair.declared is None else pair.declared.scale,
            "offset": 0.0 if pair.declared is None else pair.declared.offset,
        }
        for pair in pairs
    ]
    meds.write_table(pl.DataFrame(codes, infer_schema_length=None), dataset / "metadata" / "codes.parquet")


def _judge(pair: Pair, rows: pl.DataFrame) -> dict[str, Any]:
    """What was decided, and the share of values that are converted wrongly or not at all."""
    value = pair.values["value"].to_numpy().astype(np.float32).astype(np.float64)
    got = np.full(len(value), np.nan)
    for row in rows.sort("low", nulls_last=True).iter_rows(named=True):
        is_here = np.isnan(got) if row["low"] is None else (value >= row["low"]) & (value <= row["high"])
        if row["scale"] is not None:
            got[is_here] = value[is_here] * row["scale"] + row["offset"]
    true = np.empty(len(value))
    for k, unit in enumerate(pair.truth):
        is_in = (pair.values["unit"] == k).to_numpy()
        true[is_in] = value[is_in] * unit.scale + unit.offset
    is_told = np.isfinite(got)
    is_wrong = is_told & (np.abs(got - true) > TOLERANCE * np.abs(true))
    kinds = rows.filter(pl.col("reason") != "outside_all_units")
    return {
        "decision": kinds["decision"][0],
        "unit": " + ".join(kinds["unit"].drop_nulls()) or None,
        "reason": kinds["reason"][0],
        "is_wrong": bool(is_wrong.any()),
        "is_refused": kinds["decision"][0] == REFUSED,
        "num_values": len(value),
    }


def _summary(found: pl.DataFrame, *by: str) -> list[dict[str, Any]]:
    """Pairs, wrong conversions, refusals, and the share without a wrong conversion."""
    table = found.group_by(list(by)).agg(
        pairs=pl.len(),
        wrong=pl.col("is_wrong").sum(),
        refused=pl.col("is_refused").sum(),
        not_wrong=1 - pl.col("is_wrong").mean(),
        refusal_rate=pl.col("is_refused").mean(),
    )
    return table.sort(list(by)).to_dicts()


def _confusion(found: pl.DataFrame) -> list[dict[str, Any]]:
    """Every wrong conversion: what it was and what it was taken for."""
    wrong = found.filter("is_wrong").group_by("kind", "concept", "truth", "declared", "unit", "decision", "size").len()
    return wrong.sort(
        "len", "concept", "truth", "unit", "size", descending=[True, False, False, False, False]
    ).to_dicts()


if __name__ == "__main__":
    main()
