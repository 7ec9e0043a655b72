"""Call the command line as a shell would, without the cost of another process."""

import sys
from typing import NamedTuple

import pytest

from sojourn.cli import main


class Called(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Called:
    """Run `sojourn ARGUMENTS...` to its end."""
    capsys.readouterr()
    before, sys.argv = sys.argv, ["sojourn", *map(str, arguments)]
    try:
        main()
    except SystemExit as error:
        code = error.code
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    assert isinstance(code, int)
    return Called(code, captured.out, captured.err)
