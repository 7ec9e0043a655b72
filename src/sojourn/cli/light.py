"""Commands as typer makes them, with help that starts quickly and without a slip in messages of wrong options."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from typer.core import TyperCommand, TyperGroup

_UNUSED = ("rich.markdown", "rich.traceback")
"""Imported by typer's help, used only for help in Markdown and for drawn tracebacks; a third of the time of a help."""


def _name_no_variable(command: Any) -> None:
    """Let messages name no variable of the environment for options that have none.

    Typer has click show the variable of every option, and click before 8.3 then writes "(env var: 'None')".
    """
    for option in command.params:
        if option.envvar is None:
            option.show_envvar = False


class LightCommand(TyperCommand):
    """A command with typer's help, drawn without what it does not use."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        _name_no_variable(self)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        with _without_unused():
            super().format_help(ctx, formatter)


class LightGroup(TyperGroup):
    """The group of all commands, with typer's help, drawn without what it does not use."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        _name_no_variable(self)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        with _without_unused():
            super().format_help(ctx, formatter)


class _Hollow(ModuleType):
    """A module of which every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def _without_unused() -> Iterator[None]:
    """Let typer import hollow modules in the place of parts of rich that our help has no use for."""
    absent = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update({name: _Hollow(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
