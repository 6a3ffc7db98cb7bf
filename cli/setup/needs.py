"""What this checkout needs, what of it is here, and what fetching the rest takes."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.setup.packages import UV_LOCK, packages_in
from cli.setup.virtual_environment import LOCKS, VirtualEnvironment
from cli.stack.binaries import (
    PROMETHEUS_PACKAGE,
    TEMPORAL_MODULE,
    TEST_SERVER,
    cache_dir,
    find_prometheus,
    find_temporal,
    find_test_server,
)

GOALS = ("run", "check", "test")
"""What one may want to do with a checkout."""


@dataclass(frozen=True, slots=True)
class Need:
    """A thing that has to be here before a goal is reached.

    Attributes:
        name: What it is, for people.
        job: The words by which `scripts/setup.sh job` fetches it.
        found: What is here; empty when it must be fetched.
        source: Where it would come from, and about how large that is.
        usually: How long that usually takes.
        required: Whether the goal fails without it.
    """

    name: str
    job: Sequence[str]
    found: str
    source: str
    usually: str
    required: bool = True


def needs_of(goal: str, environment: VirtualEnvironment) -> list[Need]:
    """Lists what a goal needs.

    Args:
        goal: One of `GOALS`.
        environment: The checkout's.
    """
    kind = "run" if goal == "run" else "dev"
    needs = [_packages(environment, kind)]
    if goal == "test" or (goal == "run" and not os.environ.get("TEMPORAL_ADDRESS")):
        needs.append(_temporal())
    return [*needs, _test_server(), _prometheus()] if goal == "test" else needs


def _packages(environment: VirtualEnvironment, kind: str) -> Need:
    lock = environment.root / LOCKS[kind]
    megabytes, usually = (110, "10 to 60 s") if kind == "run" else (190, "15 to 90 s")
    installer = "uv" if shutil.which("uv") else f"uv (itself fetched, 20 MB, pinned in {UV_LOCK})"
    return Need(
        "Python packages",
        ("packages", kind),
        f"{lock.name} in .venv" if environment.usable() and environment.installed(kind) else "",
        f"up to {packages_in(lock)} wheels of {lock.name}, about {megabytes} MB, by {installer}, else by pip",
        usually,
    )


def _temporal() -> Need:
    found = find_temporal()
    go = "built by Go from its module proxy, about 300 MB" if shutil.which("go") else "no Go here to build it instead"
    return Need(
        "Temporal dev server",
        ("temporal",),
        str(found or ""),
        f"downloaded by the Temporal SDK, about 50 MB, or {go} ({TEMPORAL_MODULE}), into {cache_dir()}",
        "2 to 4 minutes by Go, seconds by download",
    )


def _test_server() -> Need:
    found = find_test_server()
    return Need(
        "Time-skipping server",
        ("test-server",),
        str(found or ""),
        f"downloaded by the Temporal SDK, or by Maven ({':'.join(TEST_SERVER)}), about 40 MB, into {cache_dir()}",
        "10 to 60 s",
        # Only a few tests need it, and they are skipped without it.
        required=False,
    )


def _prometheus() -> Need:
    found = find_prometheus()
    return Need(
        "Prometheus",
        ("prometheus",),
        str(found or ""),
        f"Debian's package {PROMETHEUS_PACKAGE}, about 20 MB, unpacked into {cache_dir()}",
        "5 to 30 s",
        # Only the tests of rules and dashboards need it, and they are skipped without it.
        required=False,
    )


def describe(environment: VirtualEnvironment, lines: Sequence[Need]) -> str:
    """Renders for people what is here and what would be fetched.

    Args:
        environment: The checkout's.
        lines: Its needs.
    """
    text = [_python(environment)]
    for need in lines:
        if need.found:
            text.append(f"✓ {need.name}: {need.found}")
        else:
            text.append(f"↓ {need.name}: {need.source}; usually {need.usually}")
    return "\n".join([*text, _disk(environment.root)])


def _python(environment: VirtualEnvironment) -> str:
    if not environment.exists():
        return "↓ .venv: will be made here"
    if environment.lent():
        return f"✓ .venv: a link to {environment.path.resolve()}, used as it is"
    if environment.usable():
        return f"✓ .venv: {environment.path}"
    if environment.ours():
        return "↓ .venv: does not work any more; will be made anew"
    return f"✗ .venv: {environment.path} was not made by this set-up and does not work; move it away"


def _disk(root: Path) -> str:
    free = shutil.disk_usage(root).free / 1_000_000_000
    return f"{'✓' if free > 4 else '✗'} disk: {free:.1f} GB free; a build by Go needs 4 GB for a while"  # noqa: PLR2004
