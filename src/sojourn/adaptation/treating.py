"""How often a hospital treats: starts of treatments that its records show, over those that were asked for.

Over random moments i with the treatment neither running nor in its washout, with y_i whether it starts within a day
of what is known, and L_i the cumulative hazard up to then, by the model as for an unknown hospital:

    R = (sum of y_i) / (sum of L_i)

observed over expected events, the most likely factor of all hazards were the moments independent (Breslow and Day
1987, Statistical Methods in Cancer Research II). That they are not goes into its variance
(`sojourn.training.observed`).
"""

import numpy as np

from sojourn.adaptation.unlabelled import UnlabelledReader
from sojourn.events.store import EventStore
from sojourn.model import Network
from sojourn.training.at_risk import starts
from sojourn.training.observed import HORIZON_HOURS, MIN_SUBJECTS, Ratio, cumulative, random_moments, ratio
from sojourn.training.records import Ints
from sojourn.training.run import Run


def treating(network: Network, base: Run, store: EventStore, rows: Ints) -> dict[str, Ratio]:
    """Observed over expected starts of each treatment that the run asks for, by the outcome's code.

    Parameters
    ----------
    network : the run's, in evaluation mode.
    base : the run.
    store : with the hospital's records. That a treatment begins follows from them (its starts, rates and ends), so its
        outcome is read; no other is.
    rows : subjects of the hospital. Treatments that started in fewer than `MIN_SUBJECTS` are left out.
    """
    names = base.vocabulary.table["code"]
    known = [start for start in starts(base.reader(store)) if names[start.outcome] in base.outcomes]
    codes = np.array([start.outcome for start in known], dtype=np.int64)
    reader = UnlabelledReader(store, base.vocabulary, base.sites, shown=codes.tolist())
    sums = np.zeros((2, len(codes), len(rows)))
    for asked in random_moments(network, reader, rows, codes, known, context=base.config.context):
        targets, is_at_risk = asked.targets, asked.targets.is_at_risk.numpy()
        observed = (targets.is_event & (targets.hours <= HORIZON_HOURS)).numpy() & is_at_risk
        expected = cumulative(network, asked.log_hazard, targets.hours.clamp(max=HORIZON_HOURS)) * is_at_risk
        for i in range(len(codes)):
            sums[:, i] += [np.bincount(asked.subject, term[:, i], len(rows)) for term in (observed, expected)]
    found = {names[int(code)]: ratio(*sums[:, i]) for i, code in enumerate(codes)}
    return {name: told for name, told in found.items() if told.num_subjects >= MIN_SUBJECTS}
