"""The networks of hospitals of `federated.py`, and the ways to train that it compares."""

import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import sojourn as sj
from sojourn.sources.simulator.network import default_config, write_config

NETWORK = {"d_model": 48, "num_layers": 2, "d_event": 32, "d_decoder": 48, "dropout": 0.1}
PRETRAIN: dict[str, Any] = {
    "context": 128,
    "instants_per_batch": 384,
    "learning_rate": 3e-3,
    "warmup_steps": 20,
    "average_decay": 0.9,
    "num_outcome_queries": 192,
    "num_value_queries": 96,
    "tuning_subjects": 60,
    "model": NETWORK,
}
ROUNDS = {"rounds": 100, "local_steps": 10, "max_local_epochs": 1.0, "evaluate_every": 20}
TIMES, SETTLING = "times", "settling"
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {"strategy": {"name": "fedavg"}},
    "fedprox": {"strategy": {"name": "fedprox"}},
    "fedadam": {"strategy": {"name": "fedadam"}},
    "fedyogi": {"strategy": {"name": "fedyogi"}},
    "diloco": {"strategy": {"name": "diloco"}},
    "diloco-float16": {"strategy": {"name": "diloco"}, "send_as": "float16"},
    "scaffold": {"strategy": {"name": "scaffold"}},
    "fedfactor": {"strategy": {"name": "fedavg"}, "personal": True},
    "fedfactor-diloco": {"strategy": {"name": "diloco"}, "personal": True},
    "diloco-settled": {"strategy": {"name": "diloco"}, "settling": 2},
    "diloco-long-settled": {"strategy": {"name": "diloco"}, "times": 3, "settling": 2},
    "diloco-long": {"strategy": {"name": "diloco"}, "times": 3},
    "fedfactor-diloco-long": {"strategy": {"name": "diloco"}, "personal": True, "times": 3},
    "daisy": {"strategy": {"name": "daisy"}},
    "cotrained": {"strategy": {"name": "fedavg"}, "cotraining": {"patients": 400}},
}
"""What differs from the settings of the study; `times` as many rounds as it has, `settling` times as many to settle."""
OWN_MOMENTS = {f"{name}-own-moments": settings | {"share_moments": False} for name, settings in METHODS.items()}
"""The same with second moments of each site's own, as all were before they were shared."""
AT_HOME = ("fedavg", "diloco", "fedfactor-diloco", "fedfactor-diloco-long", "local")
"""Methods after which each site goes on alone with its own records, for a while."""
AFTERWARDS = {"what": "all", "epochs": 5, "max_subjects": 1000, "instants_per_batch": 384, "outcomes": True}
ADAPTED = ("fedavg", "fedfactor", "pooled")
"""Methods whose run is fitted to the unseen site's own unlabelled records."""
MAX_TEST = 200
"""Test subjects of one site at most, if the study does not say otherwise."""


class Study(NamedTuple):
    """A network of hospitals."""

    make_store: Callable[[Path, int], Path]
    """(work folder, seed) -> event store."""
    is_unseen: Callable[[str], bool]
    """Which sites are never seen."""
    tasks: Sequence[str]
    min_train: int = 10
    """Sites with fewer training subjects take no part."""
    rounds: dict[str, Any] = ROUNDS
    max_test: int = MAX_TEST
    """Test subjects of one site at most, and half of those at the sites never seen."""


def _simulated(sizes: Sequence[int]) -> Callable[[Path, int], Path]:
    def make(work: Path, seed: int) -> Path:
        network = default_config(num_sites=len(sizes) + 1, stays_per_site=1, seed=seed)
        stays = [*sizes, MAX_TEST]
        sites = [site.model_copy(update={"num_stays": n}) for site, n in zip(network.sites, stays, strict=True)]
        sites[-1] = sites[-1].model_copy(update={"name": "unseen"})
        truth = network.truth.model_copy(update={"max_stays": 1, "states": False, "num_replicates": 2})
        if not (work / "simulator.yaml").exists():
            write_config(network.model_copy(update={"sites": tuple(sites), "truth": truth}), work / "simulator.yaml")
        sj.ingest("simulator", work / "simulator.yaml", work / "meds")
        sj.build(work / "store", [work / "meds"])
        return work / "store"

    return make


def _real(source: str, place: str) -> Callable[[Path, int], Path]:
    def make(work: Path, seed: int) -> Path:
        shared = work.parent / "data"  # the records do not depend on the seed
        sj.ingest(source, Path(os.environ["SOJOURN_DATA"]) / place, shared / "meds")
        sj.build(shared / "store", [shared / "meds"])
        return shared / "store"

    return make


def _by_icu_type(work: Path, seed: int) -> Path:
    """Challenge 2012, set a, as if each kind of unit were a hospital."""
    data, raw = work.parent / "data", Path(os.environ["SOJOURN_DATA"]) / "challenge-2012"
    rows = pl.read_parquet(raw / "set-a.parquet")
    kinds = rows.filter(pl.col("Parameter") == "ICUType").select("RecordID", kind=pl.col("Value").cast(int))
    for (kind,), part in rows.join(kinds, on="RecordID").partition_by("kind", as_dict=True).items():
        own = data / f"raw-{kind}"
        own.mkdir(parents=True, exist_ok=True)
        part.drop("kind").write_parquet(own / "set-a.parquet")
        (own / "Outcomes-a.txt").write_bytes((raw / "Outcomes-a.txt").read_bytes())
        sj.ingest("challenge-2012", own, data / f"meds-{kind}", site=f"icu-type-{kind}")
    sj.build(data / "store", [data / f"meds-{kind}" for kind in range(1, 5)])
    return data / "store"


STUDIES = {
    "six": Study(
        _simulated([30, 80, 200, 500, 1200, 3000]), lambda s: s == "unseen", ["vasopressor-24h", "lactate-gt-4-24h"]
    ),
    "many": Study(
        _simulated([int(n) for n in np.geomspace(30, 1500, 31)]),
        lambda s: s == "unseen",
        ["vasopressor-24h"],
        rounds=ROUNDS | {"rounds": 50, "max_local_epochs": 0.25},
    ),
    "eicu": Study(
        _real("eicu", "eicu-demo"),
        lambda s: zlib.crc32(s.encode()) % 4 == 0,
        ["vasopressor-24h"],
        rounds=ROUNDS | {"rounds": 25, "max_local_epochs": 0.5, "evaluate_every": 25},
        max_test=75,  # of 53 local models each is asked about all of them
    ),
    "icu-types": Study(_by_icu_type, lambda s: s == "icu-type-1", ["in-hospital-death-48h"]),
}


def settings_of(study: Study, method: str) -> dict[str, Any]:
    """Settings of a federated training in a study."""
    given = dict((METHODS | OWN_MOMENTS)[method])
    usual = study.rounds["rounds"]
    settling = given.pop(SETTLING, 0) * usual
    rounds = given.pop(TIMES, 1) * usual + settling
    return study.rounds | given | {"rounds": rounds} | ({"settling_rounds": settling} if settling else {})
