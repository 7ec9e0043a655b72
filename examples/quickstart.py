"""Simulated hospitals, a small model, and its risks at a hospital that it never saw. Takes about a minute.

python examples/quickstart.py [FOLDER]
"""

import sys
from pathlib import Path

import sojourn as sj
from sojourn.sources.simulator.network import default_config, write_config

TASK = "death-48h"


def main(folder: Path) -> None:
    """Run every step; what is there already is not done again."""
    folder.mkdir(parents=True, exist_ok=True)
    network = default_config(num_sites=4, stays_per_site=200, seed=0)
    network = network.model_copy(update={"truth": network.truth.model_copy(update={"risks": False, "states": False})})
    write_config(network, folder / "network.yaml")
    unseen = network.sites[-1].name

    sj.ingest("simulator", folder / "network.yaml", folder / "meds")
    sj.build(folder / "store", [folder / "meds"])
    summary = sj.pretrain(folder / "store", folder / "run", config={"epochs": 2, "held_out_sites": [unseen]})
    print(f"{summary.num_parameters:,} weights, {summary.bits_per_event:.2f} bits per event")

    labels = sj.label(TASK, folder / "store", folder / "labels.parquet", sites=[unseen])
    print(f"{labels.num_labels:,} predictions at {unseen}, {labels.num_positive:,} followed by death within 48 h")
    sj.predict(folder / "run", folder / "store", folder / "labels.parquet", folder / "risks.parquet")
    result = sj.evaluate([folder / "risks.parquet"], folder / "run" / "artifacts" / "evaluation" / TASK)
    for name in ("auroc", "expected_observed"):
        print(name, result.table()[0][name])
    print(sj.report(folder / "run", folder / "report.html"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart"))
