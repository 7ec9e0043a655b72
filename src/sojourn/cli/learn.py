"""Commands that train."""

from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.options import AsJson
from sojourn.cli.printing import literal, print_record, say


def pretrain(
    store: Annotated[Path, typer.Argument(help="Event store.")],
    run: Annotated[Path, typer.Argument(help="Folder of the run; an interrupted run is taken up again.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings, such as `epochs: 5` and `model: {d_model: 128}`.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Train a run further, with more epochs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pre-train a generative model of the events in a store.

    Settings and their defaults are those of `sojourn.PretrainConfig`; docs/pretrain.md lists them.

    Example: [dim]sojourn pretrain stores/mimic runs/mimic --config pretrain.yaml[/]
    """
    from sojourn.training.devices import is_first_process
    from sojourn.training.pretrain import pretrain as train

    summary = train(store, run, config=config, resume=resume)
    if not is_first_process():  # one of several processes that trained together: the first prints
        return
    if summary.was_finished:
        say(f"{literal(str(run))} was finished already")
    print_record(summary, as_json)
