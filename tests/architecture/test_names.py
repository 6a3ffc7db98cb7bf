"""How modules and folders are called: by the field's noun for what they hold."""

import re
from collections.abc import Iterable

import pytest

from tests.architecture.conftest import paths as modules

DRAWERS = {
    "base", "bases", "common", "general", "helper", "helpers", "lib", "libs", "manager", "managers", "misc",
    "other", "service", "services", "shared", "stuff", "thing", "things", "util", "utilities", "utils", "various",
}  # fmt: skip
"""Words under which anything can be put, so that nothing is found; they count as a part of a name, too."""
RIDDLES = {"drive", "guarded", "kept", "signs", "where"}
"""Names that need their docstring: the house's bad examples, and what was renamed."""
GERUNDS = {
    "metering": "the field's noun for counting what was used",
    "logging": "the field's noun, and the standard library's",
    "encoding": "the field's noun",
    "paging": "the field's noun",
    "pinning": "pinning a version is the field's term",
    "publishing": "the catalog's term for making a version available",
    "ceiling": "an upper bound",
    "reporting": "the guide's noun",
    "skipping": "time skipping is the term of Temporal's test server",
    "spelling": "how a token is written",
    "sealing": "sealing an audit log is the field's term",
    "shielding": "named after asyncio.shield",
    "tracing": "distributed tracing is the field's noun",
}
"""Words in -ing that are nouns of the field, each with why."""


TERMS = {"file_state_manager", "service_levels", "service_statistics"}
"""Terms that hold such a word: a module that the guide imports, and the field's nouns for what is promised to whoever
calls and what it is measured by."""


def drawers(paths: Iterable[str]) -> list[str]:
    """Those paths of which a word says nothing."""
    return [path for path in paths if DRAWERS & _words(path) or RIDDLES & set(_parts(path))]


def _words(path: str) -> set[str]:
    return set(re.split(r"[/._]", re.sub("|".join(sorted(TERMS)), "", path.lower())))


def _parts(path: str) -> list[str]:
    return path.lower().removesuffix(".py").split("/")


def gerunds(paths: Iterable[str]) -> list[str]:
    """Those paths whose module or folder is named by what is done there, not by what it is."""
    return [path for path in paths if any(_is_gerund(part) for part in _parts(path))]


def _is_gerund(name: str) -> bool:
    last = name.rpartition("_")[2]
    # A stem without a vowel, as in "string" and "thing", is no verb's.
    return re.search(r"[aeiouy].*ing$", last) is not None and last not in GERUNDS


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert drawers(modules()) == []


def test_no_module_is_named_by_a_bare_gerund() -> None:
    assert gerunds(modules()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "taskforce/application/runs/utils.py",
        "api/helpers/runs.py",
        "cli/manager.py",
        "cli/Utils.py",
        "cli/shared.py",
        "cli/lib.py",
        "cli/stuff.py",
        "taskforce/application/runs/run_utils.py",
        "tests/api/run_helpers.py",
        "taskforce/infrastructure/persistence/base_repository.py",
        "taskforce/infrastructure/tools/tool_manager.py",
        "taskforce/application/runs/kept.py",
        "cli/signs.py",
        "bench/where.py",
    ],
)
def test_a_planted_drawer_is_found(planted: str) -> None:
    assert drawers(
        [planted, "taskforce/application/runs/start.py", "taskforce/infrastructure/net/guarded_http.py"]
    ) == [planted]


@pytest.mark.parametrize(
    "planted", ["taskforce/application/thinking.py", "api/deciding/routes.py", "cli/run_steering.py"]
)
def test_a_planted_gerund_is_found(planted: str) -> None:
    assert gerunds([planted, "taskforce/infrastructure/logging.py", "api/web/string.py"]) == [planted]


def test_every_exception_is_still_needed() -> None:
    named = {part.rpartition("_")[2] for path in modules() for part in _parts(path)}
    assert set(GERUNDS) <= named
