"""Tables about several hospitals: shared concepts, training together, privacy."""

from collections.abc import Iterator
from typing import Any

from common import RESULTS, metric

from sojourn.files import read_json

Rows = tuple[tuple[str, ...], list[tuple[Any, ...]]]
"""(header, rows)"""


def _found(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return read_json(path) if path.exists() else {}


def concept_mapping() -> Rows:
    """The eICU demo with shared concepts and with every hospital's own codes."""
    header = ("codes", "seed", "vocabulary events", "bits per event", "task", "method", "rows / positive", "AUROC")
    rows = []
    for run in _found("concept_mapping").get("runs", []):
        ours = next(x for x in run["likelihood_of_held_out_subjects"] if x["model"] == "sojourn")
        bits = f"{ours['bits_per_event']:.2f} ({ours['lower']:.2f}-{ours['upper']:.2f})"
        for entry in run["entries"]:
            positive = round(entry["num_predictions"] * entry["prevalence"])
            rows.append(
                (
                    run["codes"],
                    run["seed"],
                    f"{ours['num_events']:,}",
                    bits,
                    entry["task"],
                    entry["method"],
                    f"{entry['num_predictions']:,} / {positive}",
                    metric(entry, "auroc"),
                )
            )
    return header, rows


def federated() -> Rows:
    """Mean over the seeds with 95 % t-intervals, by network and method."""
    header = ("network", "method", "seeds", "bits, known", "bits, unseen", "AUROC, known", "AUROC, unseen")
    rows = []
    for network, summary in _found("federated").get("summary", {}).items():
        for line in sorted(summary, key=lambda one: one["bits_known"]["mean"]):
            task = next((name.removesuffix("_known") for name in _TASKS if name in line), "")
            columns = ("bits_known", "bits_unseen", f"{task}_known", f"{task}_unseen")
            shares = [
                line.get(f"share_of_gain_{w}_{c}") for w in ("known", "unseen") for c in ("pooled", "pooled-wide")
            ]
            sent = line.get("megabytes", {}).get("mean")
            rows.append(
                (
                    network,
                    line["method"],
                    line["seeds"],
                    *(_mean(line.get(column)) for column in columns),
                    *(
                        " / ".join("-" if x is None else f"{100 * x:.0f}" for x in part)
                        for part in (shares[:2], shares[2:])
                    ),
                    _mean(line.get("below_fedavg_known")),
                    "" if sent is None else f"{sent:.0f}",
                )
            )
    return (*header, "% of the gain, known", "unseen", "below FedAvg, known", "MB"), rows


def adapted() -> Rows:
    """Bits per event at the unseen hospital before and after fitting a run to its own unlabelled records."""
    names = ("before", "site", "all")
    rows = []
    for network, runs in _found("federated").get("adapted", {}).items():
        for method in sorted({run["method"] for run in runs}):
            found = [[run[name] for name in names] for run in runs if run["method"] == method]
            means = [sum(column) / len(column) for column in zip(*found, strict=True)]
            rows.append((network, method, len(found), *(f"{mean:.3f}" for mean in means)))
    return ("network", "run", "seeds", "as it is", "vector of the site fitted", "all weights fitted"), rows


_TASKS = ("vasopressor-24h_known", "in-hospital-death-48h_known")


def _mean(figure: dict[str, float] | None) -> str:
    if not figure:
        return ""
    half = figure["half_width"]
    return f"{figure['mean']:.3f}" + ("" if half is None else f" ± {half:.3f}")


def privacy() -> Rows:
    """Utility and what attacks found, by epsilon, size and length of the training."""
    header = (
        "steps",
        "patients",
        "seed",
        "epsilon",
        "bits, known",
        "bits, unseen",
        "patients found, AUROC",
        "canaries found, AUROC",
        "patients guessed right",
        "canaries guessed right",
        "epsilon at least",
    )
    return header, [
        (
            run["num_steps"],
            run["size"],
            run["seed"],
            _epsilon(line),
            f"{line['bits_known']:.2f}",
            f"{line['bits_unseen']:.2f}",
            *("{value:.3f} ({lower:.3f}-{upper:.3f})".format(**line[who]) for who in ("patients", "canaries")),
            *("{2} of {1}".format(*line[f"guessed_{who}"]) for who in ("patients", "canaries")),
            f"{line['least_epsilon']:.2f}",
        )
        for run, line in _attacked()
    ]


def inversion() -> Rows:
    """Codes found in the update of one step."""
    header = (
        "steps",
        "patients in training",
        "seed",
        "epsilon",
        "patients in the step",
        "AUROC",
        "knowing frequencies",
        "precision",
    )
    return header, [
        (
            run["num_steps"],
            run["size"],
            run["seed"],
            _epsilon(line),
            one["patients"],
            *(f"{one[name]:.3f}" for name in ("auroc", "baseline", "precision")),
        )
        for run, line in _attacked()
        if line["epsilon"] in (None, 8.0)
        for one in line["codes"]
    ]


def _attacked() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for found in map(_found, ("federated_privacy", "federated_privacy_long")):
        for run in found.get("runs", []):
            for line in run["trainings"]:
                yield run, line


def _epsilon(line: dict[str, Any]) -> str:
    return "none" if line["epsilon"] is None else f"{line['epsilon']:g}"


def lines(rows: Rows) -> Iterator[str]:
    """A table in Markdown."""
    header, cells = rows
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    yield from ("| " + " | ".join(map(str, row)) + " |" for row in cells)
