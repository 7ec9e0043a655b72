"""The report room: figures, evaluations and the self-contained page."""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """This package has the name of a function of the public interface.

    Importing any module of the room makes Python put the package where `sojourn.report` looks, so it is called like
    the function.
    """

    def __call__(self, *args: Any, **settings: Any) -> Any:
        from sojourn.paths import takes_strings
        from sojourn.report.html import report

        return takes_strings(report)(*args, **settings)


sys.modules[__name__].__class__ = _Room
