"""One patient's futures: the fan of a code's last value counts futures, not measurements; every outcome is counted."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np

from helpers.toy_process import SETTINGS, write_toy_meds
from sojourn.events.store import EventStore
from sojourn.inference.futures import Drawn
from sojourn.inference.sampler import SampledEvents
from sojourn.inference.simulate import _fan, simulate
from sojourn.pipeline import build
from sojourn.training.pretrain import pretrain
from sojourn.training.records import EventTable

HOUR = 3600
NONE = EventTable(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, np.float32)))


def fan(rows: list[tuple[int, float, int, float]], hours: float = 24.0) -> dict[str, list[float]]:
    """Of rows of sample, hour, code and value; a code 1 that comes last ends a future."""
    rows = sorted(rows)
    sample, hour, code, value = (np.array(column) for column in zip(*rows, strict=True))
    events = SampledEvents(sample, (hour * HOUR).astype(np.int64), code, value.astype(np.float32))
    last = dict(zip(sample.tolist(), code.tolist(), strict=True))
    ended = np.array([last.get(s) == 1 for s in range(max(last) + 1)])
    return _fan(Drawn(events, NONE, 0, ended), 0, hours)


def test_a_future_that_measures_often_counts_once() -> None:
    rows = [(s, 0.99, 0, 0.0) for s in range(20)]
    rows += [(s, 0.01 * (k + 1), 0, 100.0) for s in range(10) for k in range(59)]
    found = fan(rows)
    assert found["hours"][0] == 1.0
    assert {found[name][0] for name in ("q05", "q50", "q95")} == {0.0}


def test_a_future_that_goes_on_after_a_discharge_is_still_shown() -> None:
    rows = [(s, 0.5, 0, 80.0) for s in range(20)] + [(s, 2.0, 1, np.nan) for s in range(20)]
    assert fan(rows)["hours"] == [1, 2]
    found = fan(rows + [(s, 20.0, 0, 120.0) for s in range(20)])
    assert found["hours"] == list(range(1, 25))
    assert found["q50"][18:] == [80.0] + [120.0] * 5


def test_a_value_stays_until_the_next_one_and_the_end_of_its_future() -> None:
    rows = [(s, 0.5, 0, float(s)) for s in range(20)]
    rows += [(s, 5.5, 0, 50.0) for s in range(20)]
    rows += [(s, 9.5, 1, np.nan) for s in range(15)]  # five are left: too few for quantiles
    found = fan(rows)
    assert found["hours"] == list(range(1, 11))
    assert found["q50"][:5] == [9.5] * 5
    assert found["q50"][5:] == [50.0] * 5


OWN = """
outcomes:
  - name: raised_lactate
    kind: value
    codes: [CONCEPT//lactate]
    plausible: [0.1, 40]
    above: 1.4
    description: lactate above 1.4 mmol/L
"""


def test_an_outcome_of_the_stores_own_is_counted_in_the_futures(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    meds, store = write_toy_meds(tmp_path / "meds", num_subjects=90), tmp_path / "store"
    build(store, [meds], outcomes=tmp_path / "own.yaml")
    pretrain(store, tmp_path / "run", config=SETTINGS | {"max_steps": 2})
    first = EventStore.open(store).subjects.row(0, named=True)
    subject, at = first["subject_id"], first["origin"] + timedelta(minutes=30)
    simulate(tmp_path / "run", store, subject=subject, at=at, horizon_hours=12, num_samples=32, out=tmp_path / "out")
    risks = json.loads((tmp_path / "out" / "timeline.json").read_text())["risks"]
    sampled = {risk["outcome"]: risk["sampled"] for risk in risks}
    assert len(sampled["raised_lactate"]) == len(sampled["death"]) > 0
