"""Writes the tables of `benchmarks/README.md` from `results/*.json`: no figure there is typed in.

python benchmarks/tables.py
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from common import RESULTS, metric

from sojourn.files import atomic_file, read_json

README = RESULTS.parent / "README.md"
STUDIES = ("challenge-2019", "challenge-2012", "eicu", "mimic-iv", "several")


def main() -> None:
    """Replace what stands between the marks of each table."""
    text = README.read_text()
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"{README} has no marks for the table {name}")
        table = "\n".join(make())
        text = pattern.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)  # type: ignore[misc]
    with atomic_file(README) as part:
        part.write_text(text)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    yield from ("| " + " | ".join(map(str, row)) + " |" for row in rows)


def _results(names: Sequence[str]) -> dict[str, Any]:
    return {name: read_json(RESULTS / f"{name}.json") for name in names if (RESULTS / f"{name}.json").exists()}


def predictions() -> Iterator[str]:
    """One row for each study, task and method."""
    rows = [
        (
            study,
            entry["task"],
            entry["file"].removesuffix(".parquet"),
            f"{entry['num_predictions']:,} / {round(entry['num_predictions'] * entry['prevalence']):,}",
            *(metric(entry, name) for name in ("auroc", "auprc", "expected_observed")),
        )
        for study, found in _results(STUDIES).items()
        for entry in found["entries"]
    ]
    return _table(("study", "task", "method", "rows / positive", "AUROC", "AUPRC", "expected:observed"), rows)


def likelihoods() -> Iterator[str]:
    """Bits per event of held-out subjects."""
    rows = []
    for study, found in _results(STUDIES).items():
        for line in found["likelihood_of_held_out_subjects"]:
            interval = f"{line['bits_per_event']:.2f} ({line['lower']:.2f}-{line['upper']:.2f})"
            parts = (f"{line[f'bits_{part}']:.2f}" for part in ("gap", "code", "value"))
            rows.append((study, line["model"], line["num_subjects"], f"{line['num_events']:,}", interval, *parts))
    return _table(("study", "model", "subjects", "events", "bits per event", "gap", "code", "value"), rows)


def trainings() -> Iterator[str]:
    """What was trained, and how long it took."""
    rows = []
    for study, found in _results(STUDIES).items():
        run = found["training"]
        minutes = run["seconds"] / 60 if not run["was_finished"] else None
        took = f"{minutes:.0f}" if minutes else "in parts"
        load = found["machine"]["load_1min"]
        rows.append((study, f"{run['num_parameters']:,}", f"{run['num_subjects']:,}", run["steps"], took, load))
    return _table(("study", "weights", "training subjects", "steps", "minutes, one thread", "load after"), rows)


def unseen() -> Iterator[str]:
    """Mean and range over seeds at the simulator's unseen hospital."""
    found = _results(["unseen_hospital"]).get("unseen_hospital", {"summary": []})
    rows = []
    for line in found["summary"]:
        cells = [
            f"{f['mean']:.3f} ({f['lowest']:.3f}-{f['highest']:.3f})"
            for f in (line["auroc"], line["expected_observed"])
        ]
        rows.append((line["task"], line["method"], line["seeds"], *cells))
    return _table(("task", "method", "seeds", "AUROC, mean (range)", "expected:observed, mean (range)"), rows)


def switches() -> Iterator[str]:
    """The switches of the model."""
    found = _results(["ablations"]).get("ablations", {"results": {}})
    rows = []
    for name, result in found["results"].items():
        bits = [
            f"{r['bits_per_event']:.3f} ({r['lower']:.3f}-{r['upper']:.3f})"
            for r in (result["known_hospitals"], result["unseen_hospital"])
        ]
        rows.append((name, *bits, *(f"{task['auroc']}; {task['expected_observed']}" for task in result["tasks"])))
    tasks = [task["task"] for result in list(found["results"].values())[:1] for task in result["tasks"]]
    return _table(("switch", "bits per event, known hospitals", "bits per event, unseen", *tasks), rows)


def rates() -> Iterator[str]:
    """Speed and memory of ingest and build."""
    found = _results(["ingest_rate"]).get("ingest_rate", {})
    rows = []
    for name in ("mimic-iv-demo", "simulated"):
        if name not in found:
            continue
        line = found[name]
        for step in ("ingest", "build"):
            per_cpu = round(line["num_events"] / line[f"{step}_cpu_s"])
            cells = (f"{line[f'{step}_events_per_s']:,}", f"{per_cpu:,}", f"{line[f'{step}_peak_memory_mb']} MB")
            rows.append((step, name, f"{line['num_events']:,}", *cells))
    return _table(("step", "data", "events", "events/s", "events per CPU second", "peak memory"), rows)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "predictions": predictions,
    "likelihoods": likelihoods,
    "trainings": trainings,
    "unseen": unseen,
    "switches": switches,
    "rates": rates,
}

if __name__ == "__main__":
    main()
