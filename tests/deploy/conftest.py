"""Prometheus and its tool, where they can be had."""

from pathlib import Path

import pytest

from cli.stack.binaries import find_prometheus
from taskforce.infrastructure.config.settings import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


@pytest.fixture(scope="session")
def prometheus_programs() -> Path:
    """The directory of `prometheus` and `promtool`."""
    found = find_prometheus()
    if found is None:
        pytest.skip("Prometheus is not here; `make test` fetches it where Debian's packages can be had")
    return found
