"""Tables of the studies on open data: risks, which variant counts, bits per event, trainings."""

from collections.abc import Iterator
from typing import Any

from common import RESULTS, metric
from tables_sites import Rows

from sojourn.files import read_json

STUDIES = ("challenge-2019", "challenge-2012", "eicu", "mimic-iv", "several")


def _studies() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in STUDIES:
        if (path := RESULTS / f"{name}.json").exists():
            yield name, read_json(path)


def predictions() -> Rows:
    """One row for each study, task and method."""
    rows = [
        (
            study,
            entry["task"],
            entry["file"].removesuffix(".parquet"),
            f"{entry['num_predictions']:,} / {round(entry['num_predictions'] * entry['prevalence']):,}",
            *(metric(entry, name) for name in ("auroc", "auprc", "expected_observed")),
        )
        for study, found in _studies()
        for entry in found["entries"]
    ]
    return ("study", "task", "method", "rows / positive", "AUROC", "AUPRC", "expected:observed"), rows


def variants() -> Rows:
    """What the tuning subjects say of the variants of ours, the one that counts marked."""
    rows = [
        (study, task, name, f"{auroc:.3f}", "counts" if name == told["chosen"] else "")
        for study, found in _studies()
        for task, told in found.get("variant", {}).items()
        for name, auroc in told["auroc_of_tuning_subjects"].items()
    ]
    return ("study", "task", "variant", "AUROC of tuning subjects", ""), rows


def likelihoods() -> Rows:
    """Bits per event of held-out subjects."""
    rows = []
    for study, found in _studies():
        for line in found["likelihood_of_held_out_subjects"]:
            interval = f"{line['bits_per_event']:.2f} ({line['lower']:.2f}-{line['upper']:.2f})"
            parts = (f"{line[f'bits_{part}']:.2f}" for part in ("gap", "code", "value"))
            rows.append((study, line["model"], line["num_subjects"], f"{line['num_events']:,}", interval, *parts))
    return ("study", "model", "subjects", "events", "bits per event", "gap", "code", "value"), rows


def trainings() -> Rows:
    """What was trained, and how long it took."""
    rows = []
    for study, found in _studies():
        run = found["training"]
        minutes = run["seconds"] / 60 if not run["was_finished"] else None
        took = f"{minutes:.0f}" if minutes else "in parts"
        if found.get("minutes_of_steps"):
            took = ", ".join(f"{each:.0f}" for each in found["minutes_of_steps"])
        load = found["machine"]["load_1min"]
        size = f"{run['num_parameters']:,}", f"{run['num_subjects']:,}"
        rows.append((study, *size, run["steps"], took, run.get("threads", 1), load))
    return ("study", "weights", "training subjects", "steps", "minutes", "threads", "load after"), rows


def _unseen_hospital() -> dict[str, Any]:
    path = RESULTS / "unseen_hospital.json"
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    return found


def unseen() -> Rows:
    """Mean and range over seeds at the simulator's unseen hospital."""
    rows = []
    for line in _unseen_hospital().get("summary", []):
        cells = [
            f"{f['mean']:.3f} ({f['lowest']:.3f}-{f['highest']:.3f})"
            for f in (line["auroc"], line["expected_observed"])
        ]
        rows.append((line["task"], line["method"], line["seeds"], *cells))
    return ("task", "method", "seeds", "AUROC, mean (range)", "expected:observed, mean (range)"), rows


def drawn() -> Rows:
    """Risks as asked in one pass and as drawn in futures, of the same moments, beside what came true."""
    rows = [
        (
            line["task"],
            line["seed"],
            line["moments"],
            *(f"{line[name]:.4f}" for name in ("asked", "drawn", "observed")),
            f"{line['difference']:+.4f} ± {line['standard_error']:.4f}",
            f"{line['monte_carlo_error']:.4f}",
            f"{line['rank_correlation']:.2f}",
        )
        for line in _unseen_hospital().get("asked_and_drawn", [])
    ]
    header = (
        "task",
        "seed",
        "moments",
        "asked",
        "drawn",
        "came true",
        "drawn - asked",
        "of it sampling",
        "rank correlation",
    )
    return header, rows
