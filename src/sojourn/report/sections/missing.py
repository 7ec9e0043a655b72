"""What to run for each artifact that a report can show."""

from sojourn.report.blocks import Missing

_COMMANDS = {
    "run.yaml": ("The run's settings (run.yaml)", "sojourn pretrain STORE {run}"),
    "metrics.jsonl": ("The learning curve (metrics.jsonl)", "sojourn pretrain STORE {run}"),
    "data.json": ("The account of the data (artifacts/data.json)", "sojourn pretrain STORE {run}"),
    "fits.json": ("How well the distributions fit (artifacts/fits.json)", "sojourn pretrain STORE {run}"),
    "evaluation": (
        "Evaluated risks (artifacts/evaluation/*.json)",
        "sojourn predict {run} STORE LABELS PREDICTIONS && sojourn evaluate PREDICTIONS {run}/artifacts/evaluation "
        "--by site",
    ),
    "controls": (
        "Evaluated controls (methods random-weights and shuffled-values)",
        "sojourn predict {run} STORE LABELS CONTROL --control shuffled-values && "
        "sojourn evaluate PREDICTIONS CONTROL... {run}/artifacts/evaluation --by site",
    ),
    "timeline.json": (
        "One patient's simulated futures (artifacts/timeline/timeline.json)",
        "sojourn simulate {run} STORE --subject ID --at TIME --horizon 48h --num-samples 256 {run}/artifacts/timeline",
    ),
}


def missing(artifact: str, run: str) -> Missing:
    """Say that an artifact is not there and which command makes it."""
    what, command = _COMMANDS[artifact]
    return Missing(what, command.format(run=run))
