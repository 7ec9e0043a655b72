"""The sources room: one module per origin, raw tables -> MEDS. A new source is one module and one line here."""

import importlib

from sojourn.errors import ConfigError
from sojourn.sources.records import Source

__all__ = ["SOURCES", "get_source"]

SOURCES = {
    "aumcdb": "aumcdb",
    "challenge-2012": "challenge_2012",
    "challenge-2019": "challenge_2019",
    "clif": "clif",
    "csv": "csv_mapping",
    "eicu": "eicu",
    "fhir": "fhir",
    "hirid": "hirid",
    "meds": "meds_copy",
    "mimic-iv": "mimic_iv",
    "omop": "omop",
    "sicdb": "sicdb",
    "simulator": "simulator",
}
"""Name of each source -> its module in this room, which exports ``SOURCE`` and is imported on first use."""


def get_source(name: str) -> Source:
    """Return the source called `name`.

    Raises
    ------
    ConfigError
        If there is no such source.
    """
    if name not in SOURCES:
        msg = f"source must be one of {', '.join(SOURCES)}; got {name!r}. Choose one of them."
        raise ConfigError(msg)
    source: Source = importlib.import_module(f"{__name__}.{SOURCES[name]}").SOURCE
    return source
