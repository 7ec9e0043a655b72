"""Your own task, written for ACES: hypotension in the 12 h after a first lactate above 2. Run quickstart.py first.

python examples/own_aces_task.py [FOLDER]
"""

import sys
from pathlib import Path

import sojourn as sj

TASK = """
predicates:
  lactate_gt_2: {code: CONCEPT//lactate, value_min: 2.0, value_min_inclusive: false}
  hypotension: {code: OUTCOME//hypotension_map_lt_60}

trigger: lactate_gt_2

windows:
  before:
    start: null
    end: trigger
    start_inclusive: true
    end_inclusive: false
    has: {lactate_gt_2: "(None, 0)"}
    index_timestamp: end
  target:
    start: before.end
    end: start + 12h
    start_inclusive: false
    end_inclusive: true
    label: hypotension
"""


def main(folder: Path) -> None:
    """Label with es-aces, predict with the run, evaluate."""
    task = folder / "hypotension-after-lactate.yaml"
    task.write_text(TASK)
    unseen = sj.Run(folder / "run").config.held_out_sites  # the run has learnt from the others' patients
    report = sj.label(str(task), folder / "meds", folder / "own-labels.parquet", sites=unseen)
    print(f"{report.num_labels:,} predictions, {report.num_positive:,} followed by hypotension")
    sj.predict(folder / "run", folder / "store", folder / "own-labels.parquet", folder / "own-risks.parquet")
    result = sj.evaluate([folder / "own-risks.parquet"], folder / "own-evaluation", by="site")
    for row in result.table():
        print(row["group"], row["predictions"], "AUROC", row["auroc"])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart"))
