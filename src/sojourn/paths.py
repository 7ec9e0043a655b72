"""Paths as people type them: the public functions take strings where they take paths."""

from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any, get_args, get_origin


@cache
def takes_strings(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with strings made paths where it asks for paths, and one path made a list where it asks for many.

    A parameter that may be a string by itself (a URL, a task's name) is passed on as it is.
    """
    import inspect

    signature = inspect.signature(function, eval_str=True)
    one = {name for name, p in signature.parameters.items() if _is_path(p.annotation)}
    many = {name for name, p in signature.parameters.items() if _is_paths(p.annotation)}

    @wraps(function)
    def called(*args: Any, **settings: Any) -> Any:
        given = signature.bind(*args, **settings)
        for name, value in given.arguments.items():
            if name in one and isinstance(value, str):
                given.arguments[name] = Path(value)
            elif name in many and isinstance(value, str | Path):
                given.arguments[name] = [Path(value)]
            elif name in many and isinstance(value, Sequence):
                given.arguments[name] = [Path(v) if isinstance(v, str) else v for v in value]
        return function(*given.args, **given.kwargs)

    return called


def _is_path(annotation: Any) -> bool:
    options = get_args(annotation) or (annotation,)
    return get_origin(annotation) is not Sequence and Path in options and str not in options


def _is_paths(annotation: Any) -> bool:
    return get_origin(annotation) is Sequence and get_args(annotation) == (Path,)
