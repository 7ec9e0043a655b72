"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sojourn_data() -> Path:
    """The folder of open data sets; tests that need it are skipped, with the reason, where it is not set."""
    place = os.environ.get("SOJOURN_DATA")
    if not place:
        pytest.skip("SOJOURN_DATA is not set: the open data sets are not on this machine")
    return Path(place)
