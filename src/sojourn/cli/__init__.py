"""The command line: each command parses, calls one function and prints."""

from sojourn.cli.adaptation import adapt, embed, extend, finetune
from sojourn.cli.application import app, main
from sojourn.cli.ask import baseline, blend, label, likelihood, predict, simulate, synthesise, tasks, value
from sojourn.cli.concepts import concepts
from sojourn.cli.data import build, fetch, ingest, inspect, units
from sojourn.cli.derived import derive
from sojourn.cli.federate import federate
from sojourn.cli.learn import pretrain
from sojourn.cli.light import LightCommand
from sojourn.cli.mapping import mapping
from sojourn.cli.show import demo, evaluate, report
from sojourn.cli.tables import grid

__all__ = ["app", "main"]

for _command in (  # in the order of the help
    demo,
    ingest,
    mapping,
    fetch,
    inspect,
    concepts,
    units,
    derive,
    build,
    pretrain,
    tasks,
    label,
    grid,
    predict,
    baseline,
    blend,
    evaluate,
    likelihood,
    simulate,
    synthesise,
    value,
    embed,
    finetune,
    extend,
    adapt,
    report,
):
    app.command(cls=LightCommand)(_command)

app.add_typer(federate)
