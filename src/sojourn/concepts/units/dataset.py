"""Unit inference for a whole MEDS data set: one pass over its values, one table beside its codes."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.markup import escape

from sojourn.concepts.tables import concept_table
from sojourn.concepts.units.decide import Decision, candidate, decide
from sojourn.concepts.units.declared import Declared, declared_units
from sojourn.concepts.units.evidence import Values
from sojourn.concepts.units.overrides import Override, as_overrides, overridden, read_overrides, unused
from sojourn.concepts.units.tally import Tally, tally_values
from sojourn.errors import DataError
from sojourn.events import meds
from sojourn.events.units import MIXED, OUTSIDE, OVERRIDDEN, REFUSED, UNITS, UNITS_SCHEMA, UnitsReport, describe_units
from sojourn.files import atomic_file
from sojourn.progress import console

OVERRIDES = Path("metadata/unit_overrides.csv")
"""The override file that a data set was last given; it counts until another one is."""


def infer_units(dataset: Path, *, overrides: Path | None = None) -> UnitsReport:
    """Decide for every code with a concept, at every site, what unit its values are in.

    Writes ``metadata/units.parquet`` (columns of `sojourn.events.units.UNITS_SCHEMA`), which `build_store` applies.
    Memory does not grow with the data set.

    Parameters
    ----------
    dataset : MEDS data set with ``metadata/codes.parquet``.
    overrides : CSV or YAML file with `site`, `concept`, `code`, `unit`; kept in the data set and used again later.

    Raises
    ------
    DataError
        If `dataset` cannot be read.
    ConfigError
        If the override file cannot be used.
    """
    if not meds.is_meds(dataset):
        msg = f"dataset must be a MEDS data set; got {dataset}. Make one with `sojourn ingest`."
        raise DataError(msg)
    kept = dataset / OVERRIDES
    given = overrides if overrides is not None else kept if kept.exists() else None
    lines = None if given is None else read_overrides(given)
    said = [] if lines is None else as_overrides(lines)
    source = meds.read_metadata(dataset).get("dataset_name")
    declared = declared_units(meds.read_codes(dataset), source)
    tally = tally_values(dataset, [each.code for each in declared])
    table = units_table(declared, tally, said)
    if lines is not None and overrides is not None:
        with atomic_file(kept) as part:
            lines.write_csv(part)
    meds.write_table(table, dataset / UNITS)
    idle = unused(said, table)
    for line in idle:
        console.print(f"the override {escape(line)} speaks of nothing in {escape(str(dataset))}: check its names")
    return replace(describe_units(table, dataset), unused_overrides=idle)


def units_table(declared: list[Declared], tally: Tally, overrides: list[Override]) -> pl.DataFrame:
    """Decide for all pairs of a tally; one row for each, several for a mixture (`UNITS_SCHEMA`)."""
    about = {each.code: each for each in declared}
    own = dict(concept_table().select("name", "unit").iter_rows())
    rows: list[dict[str, Any]] = []
    for code, pairs in groupby(_pairs(tally), key=lambda pair: pair[0]):
        mine = list(pairs)
        decisions = decide([candidate(about[code], values) for _, _, _, values in mine])
        for (_, site, sizes, values), decision in zip(mine, decisions, strict=True):
            is_said, unit = overridden(overrides, site, about[code].concept, code)
            taken = Decision(OVERRIDDEN, "override", unit, 1.0) if is_said else decision
            where = {"site": site, "concept_unit": own.get(about[code].concept)}
            rows += _rows(about[code], taken, values, where | sizes)
    return pl.DataFrame(rows, schema=UNITS_SCHEMA).sort("code", "site", "low", nulls_last=True)


def _pairs(tally: Tally) -> Iterator[tuple[str, str | None, dict[str, int], Values]]:
    """Code, site, sizes and values of each pair, by code."""
    bins = tally.bins.filter(pl.col("value") != 0).sort("code", "site", "bin")
    by_pair = bins.partition_by("code", "site", as_dict=True, maintain_order=True)
    for site, code, num_values, num_subjects in tally.pairs.sort("code", "site").iter_rows():
        part = by_pair.get((code, site), bins.clear())
        values = Values(
            part["value"].to_numpy().astype(np.float64), part["count"].to_numpy().astype(np.float64), num_subjects
        )
        yield code, site, {"num_values": num_values, "num_subjects": num_subjects}, values


def _rows(declared: Declared, decision: Decision, values: Values, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one pair: one, or one for each unit of a mixture and one for the values of none."""
    common = about | {
        "code": declared.code,
        "concept": declared.concept,
        "declared_unit": declared.unit.name if declared.unit is not None else None,
        "confidence": None if np.isnan(decision.confidence) else round(decision.confidence, 4),
        "decision": decision.kind,
        "reason": decision.reason,
    }
    if decision.kind != MIXED:
        unit = decision.unit
        converted = {} if unit is None else {"unit": unit.name, "scale": unit.scale, "offset": unit.offset}
        return [common | converted]
    rows, num_told = [], 0
    for unit, low, high in decision.intervals:
        is_here = (values.value >= low) & (values.value <= high)
        count = int(values.num[is_here].sum())
        num_told += count
        part = {"unit": unit.name, "scale": unit.scale, "offset": unit.offset, "low": low, "high": high}
        rows.append(common | part | {"num_values": count})
    rest = {"num_values": max(about["num_values"] - num_told, 0), "decision": REFUSED, "reason": OUTSIDE}
    return [*rows, common | rest]
