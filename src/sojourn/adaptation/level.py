"""The level of risks at a hospital that looks or treats more, or less, than the known ones: no label, no training.

    log lambda_o(t) + d_o,    d_o = log(R_site / R_known) * prior² / (prior² + var)

R is observed over expected: measuring (`sojourn.training.looking`), and with `levels` also starts of treatments
(`sojourn.adaptation.treating`), of which known hospitals are taken to have as many as asked for. var is the variance
of the log-ratio, prior the spread by which hospitals differ: what few patients say counts less (posterior mean of a
normal shift). The order of risks stays as it is.
"""

import math
from collections.abc import Mapping

from sojourn.adaptation.treating import treating
from sojourn.errors import RunError
from sojourn.files import read_json
from sojourn.model import Network
from sojourn.training.folder import LOOKING
from sojourn.training.looking import looking, watched
from sojourn.training.observed import Ratio
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import Run

_AS_ASKED = Ratio(1.0, 0.0, 0)


def known_looking(base: Run) -> dict[str, Ratio]:
    """What a run's own hospitals do.

    Raises
    ------
    RunError
        If the run does not say so.
    """
    path = base.path / LOOKING
    if not path.exists():
        msg = (
            f"run must say how often its hospitals look; {base.path} has no {LOOKING}. Runs made from another run have "
            "none, nor have those of earlier versions. Give the pre-trained run itself."
        )
        raise RunError(msg)
    return {name: Ratio(**told) for name, told in read_json(path).items()}


def fit_levels(
    network: Network, base: Run, reader: RecordReader, rows: Ints, prior: float, *, treats: bool
) -> dict[str, float]:
    """Shift the hazards of a network, and tell by which factors.

    Parameters
    ----------
    network : the run's, in evaluation mode; its first-event head is changed.
    base : the run, for what its own hospitals do.
    reader : of the store that holds the hospital's records; it may hide the outcomes.
    rows : subjects of the hospital.
    prior : standard deviation of the shifts between hospitals, on the log-hazard scale.
    treats : whether treatments have a level too, and not only what shows in a measured value.
    """
    known = known_looking(base)
    asked = [one for one in watched(base.vocabulary, base.outcomes, reader.store) if one.definition.code in known]
    found = looking(network, reader, rows, asked, context=base.config.context)
    if treats:
        treated = treating(network, base, reader.store, rows)
        known, found = known | dict.fromkeys(treated, _AS_ASKED), found | treated
    shifts = shifts_of(known, found, prior)
    for name, shift in shifts.items():
        network.first_head.log_base[base.vocabulary.index[name]] += shift
    return {name: math.exp(shift) for name, shift in shifts.items()}


def shifts_of(known: Mapping[str, Ratio], found: Mapping[str, Ratio], prior: float) -> dict[str, float]:
    """Posterior means of the shifts, on the log-hazard scale, of the outcomes that both tell of.

    Examples
    --------
    >>> told = {"OUTCOME//lactate_gt_4": Ratio(2.0, 0.0, 50)}, {"OUTCOME//lactate_gt_4": Ratio(4.0, 0.25, 50)}
    >>> {name: round(shift, 3) for name, shift in shifts_of(*told, prior=0.5).items()}  # half of log 2
    {'OUTCOME//lactate_gt_4': 0.347}
    """
    shifts = {}
    for name in known.keys() & found.keys():
        variance = known[name].variance + found[name].variance
        weight = prior**2 / (prior**2 + variance) if prior else 0.0
        shifts[name] = weight * math.log(found[name].ratio / known[name].ratio)
    return dict(sorted(shifts.items()))
