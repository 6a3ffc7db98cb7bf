"""What the tests of the architecture look at: the catalog of a migrated database, and the sources."""

import ast
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import asyncpg
import pytest

from taskforce.infrastructure.config.settings import driver_arguments
from tests.fixtures import stack as stacks

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("taskforce", "models", "activities", "workflows", "api", "cli")
BESIDE = ("tests", "bench", "scripts")
"""Folders of code that is not part of the product, and follows its names."""


@dataclass(frozen=True)
class Source:
    """One of the product's modules."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    def imports(self) -> Iterator[str]:
        """The modules that it imports, wherever in it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module


@cache
def sources() -> Sequence[Source]:
    """Every module of the product."""
    files = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
    return [_source(path) for path in [*files, REPOSITORY / "worker.py"]]


@cache
def paths() -> Sequence[str]:
    """The path of every module: the product's, and of what stands beside it."""
    beside = [path for folder in BESIDE for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return [*(one.path for one in sources()), *(path.relative_to(REPOSITORY).as_posix() for path in beside)]


def _source(path: Path) -> Source:
    text = path.read_text()
    return Source(path.relative_to(REPOSITORY).as_posix(), text, ast.parse(text))


@pytest.fixture(scope="session")
async def catalog(postgres: stacks.DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    """The administrator's connection, to which nothing is hidden."""
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()
