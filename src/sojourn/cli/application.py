"""The application: its name and help, and what becomes of an error."""

import sys
from typing import NoReturn

import typer

from sojourn.cli.light import LightGroup
from sojourn.cli.printing import say
from sojourn.errors import SojournError

app = typer.Typer(
    name="sojourn",
    cls=LightGroup,
    help="Foundation models of clinical event streams that hold up at the next hospital.\n\n"
    "The way through: fetch or bring raw tables, [b]ingest[/b] them, [b]build[/b] a store, [b]pretrain[/b], "
    "[b]label[/b] tasks, [b]predict[/b], [b]evaluate[/b], [b]report[/b]. Try [b]sojourn demo[/b] first.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line: 0 is success, 1 an error that the message explains, 2 a wrong command line."""
    try:
        app(standalone_mode=True)
    except SojournError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a folder that may not be written: nothing a traceback would explain
        place = error.filename2 or error.filename
        _fail(f"{error.strerror or error}: {place}" if place else str(error))
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            say("stopped; what was finished is kept, the same command goes on from there")
        raise
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    from rich.markup import escape

    say(f"[bold red]error:[/] {escape(message)}")
    sys.exit(1)
