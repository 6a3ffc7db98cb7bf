"""A home of its own for each stack, in a place short enough for a Unix socket and open enough for PostgreSQL."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.binaries import temporal_binary


@pytest.fixture
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="tf-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def temporal() -> Path:
    return temporal_binary()
