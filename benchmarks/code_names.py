"""How often the code of one data set that is called most like a code of another means the same.

    python benchmarks/code_names.py WORK     # WORK of real_data.py: the MEDS of its studies

Codes of one source whose concept is known are compared, by their words alone, with the concepts and the unmapped
codes of another, as `sojourn extend` does. `right`: the nearest of the concepts is the same one. Beside many unmapped
codes the nearest of all is often another name of the same thing, which no table here can tell.
"""

import argparse
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import keep

from sojourn.adaptation.description import LEAST_LIKENESS, NUM_FEATURES
from sojourn.training.code_words import word_features

SOURCES = ("challenge-2012", "challenge-2019", "eicu", "mimic-iv")


def main() -> None:
    """Compare every pair of sources and write `results/code_names.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    codes = {name: pl.read_parquet(work / name / f"{name}-meds" / "metadata" / "codes.parquet") for name in SOURCES}
    found = [
        {"known": known, "new": new, **_compare(codes[known], codes[new])} for known, new in permutations(SOURCES, 2)
    ]
    for row in found:
        print(row)
    keep("code_names", {"pairs": found})


def _compare(known: pl.DataFrame, new: pl.DataFrame) -> dict[str, Any]:
    columns = ("code", "description", "unit")
    first = (pl.col(name).drop_nulls().first() for name in ("concept_description", "concept_unit"))
    concepts = known.drop_nulls("concept").group_by("concept", maintain_order=True).agg(first)
    named = concepts.select(
        code="CONCEPT//" + pl.col("concept"), description="concept_description", unit="concept_unit"
    )
    unmapped = known.filter(pl.col("concept").is_null() & ~pl.col("target_only")).select(columns)
    asked = new.filter(pl.col("concept").is_in(concepts["concept"].implode()))
    whole = pl.concat([named, unmapped, asked.select(columns)])
    num_known = named.height + unmapped.height
    x = word_features(whole, np.arange(whole.height) < num_known, NUM_FEATURES)
    likeness = x[num_known:] @ x[: named.height].T
    is_right = np.array(concepts["concept"].to_list())[likeness.argmax(1)] == asked["concept"].to_numpy()
    is_alike = likeness.max(1) > LEAST_LIKENESS
    return {
        "num_concepts": named.height,
        "num_unmapped": unmapped.height,
        "num_codes": asked.height,
        "right": float(is_right.mean()),
        "alike": float(is_alike.mean()),
        "right_of_alike": float(is_right[is_alike].mean()),
        "right_of_others": float(is_right[~is_alike].mean()) if not is_alike.all() else None,
    }


if __name__ == "__main__":
    main()
