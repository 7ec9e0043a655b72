"""Optional parts: what they need is imported where it is used, and its absence says what to install."""

import importlib
from types import ModuleType

from sojourn.errors import ConfigError


def need(module: str, extra: str) -> ModuleType:
    """Import a module of an extra.

    Raises
    ------
    ConfigError
        If it is not installed; the message says how to install it.

    Examples
    --------
    >>> need("json", "federated").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        msg = f"{module} must be installed for this; it is not. Install it with: pip install 'sojourn[{extra}]'."
        raise ConfigError(msg) from error
