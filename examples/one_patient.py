"""One patient at one moment: the risk of every outcome at any horizon, in one pass. Run quickstart.py first.

python examples/one_patient.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

import sojourn as sj
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, query_risk

HORIZONS_HOURS = (6, 24, 48)


def main(folder: Path) -> None:
    """Ask about the first stay of the unseen hospital, 24 h after its record began."""
    run, store = sj.Run(folder / "run"), sj.EventStore.open(folder / "store")
    network, reader = run.network(), run.reader(store)
    site = run.config.held_out_sites[0]
    row = store.rows(sites=[site])[0]
    moment = Moments(np.array([row]), np.array([24 * 3600]))

    print(f"a stay at {site}, 24 h after its first event; risk with its 90 % interval")
    for outcome in run.outcomes:
        code = run.vocabulary.index[outcome]
        risks = []
        for hours in HORIZONS_HOURS:
            risk = query_risk(network, reader, moment, Question([code], hours), context=run.config.context)
            risks.append(f"{hours} h: {risk.probability[0]:.3f} ({risk.lower[0]:.3f}-{risk.upper[0]:.3f})")
        print(f"{outcome.removeprefix('OUTCOME//'):28}", "   ".join(risks))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart"))
