"""Tools that only benchmarks have, found as if they stood among the built-in ones."""

from pathlib import Path

from taskforce.infrastructure.tools import builtin


def offer() -> None:
    """Lets `ToolRegistry.discover` find them in this process."""
    builtin.__path__.append(str(Path(__file__).parent))
