"""A run folder of synthetic artifacts, made once."""

from pathlib import Path

import pytest

from helpers.synthetic_artifacts import write_synthetic_run


@pytest.fixture(scope="session")
def synthetic_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run folder of made-up figures; tests must not write to it."""
    return write_synthetic_run(tmp_path_factory.mktemp("report") / "run")
