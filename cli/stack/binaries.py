"""Programs that the stack needs and that no Python package brings: which, where they lie, and how they get there, once.

Standard library only: the set-up calls this before there is a virtual environment, see `cli.setup`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.stack.locks import exclusive
from cli.stack.sources import DebianPackage, GoBuild, MavenServer, Progress, SdkDownload, Source, first_of
from taskforce.core.domain.errors import Unavailable

TEMPORAL_MODULE = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
TEST_SERVER = ("io.temporal", "temporal-test-server", "1.32.0")

PROMETHEUS_PACKAGE = "prometheus"
"""The package of Debian that has `prometheus` and `promtool`."""

_BUILD_SECONDS = 1800
_TEMPORAL_ADVICE = (
    "Put the Temporal CLI (`temporal`) on PATH, install Go so that it can be built, or set TEMPORAL_ADDRESS to a "
    "Temporal that runs already."
)
_PROMETHEUS_ADVICE = "Put `prometheus` and `promtool` on PATH."
_TEST_SERVER_ADVICE = "Install a JDK and Maven, or connect to the internet."


@dataclass(frozen=True, slots=True)
class Sdk:
    """An interpreter that has the Temporal SDK, which can download its servers, or will have it.

    Attributes:
        python: The interpreter.
        ready: Whether the SDK is there yet.
    """

    python: Path
    ready: Callable[[], bool] = lambda: True

    @classmethod
    def here(cls) -> "Sdk | None":
        """Returns this very interpreter, if it has the SDK."""
        return cls(Path(sys.executable)) if importlib.util.find_spec("temporalio") else None


def silent(_: str) -> None:
    """Ignores progress, where nobody watches."""


def cache_dir() -> Path:
    """Returns the directory of programs for all checkouts: TASKFORCE_CACHE, else the user's cache directory."""
    if chosen := os.environ.get("TASKFORCE_CACHE"):
        return Path(chosen).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskforce"


def find_temporal(cache: Path | None = None) -> Path | None:
    """Finds the `temporal` program if it is here already: on PATH, or in the cache."""
    on_path = shutil.which("temporal")
    for candidate in (Path(on_path) if on_path else None, _cached_temporal(cache)):
        if candidate and candidate.exists() and _runs(candidate):
            return candidate
    return None


def find_test_server(cache: Path | None = None) -> Path | None:
    """Finds the time-skipping server if it is in the cache."""
    launcher = _cached_test_server(cache) / "run"
    return launcher if launcher.exists() else None


def find_prometheus(cache: Path | None = None) -> Path | None:
    """Finds the directory that has `prometheus` and `promtool`, if they are here: on PATH, or in the cache."""
    on_path = shutil.which("promtool")
    for candidate in (Path(on_path).parent if on_path else None, _cached_prometheus(cache)):
        if candidate and all((candidate / name).exists() for name in ("promtool", "prometheus")):
            return candidate
    return None


def prometheus_programs(progress: Progress = silent, cache: Path | None = None) -> Path:
    """Provides the directory of `prometheus` and `promtool`: from PATH, the cache, or Debian's package.

    Args:
        progress: Told what takes time.
        cache: Where programs are kept; by default `cache_dir()`.

    Raises:
        Unavailable: There are none and no way to get them; the message says what would help.
    """
    target = _cached_prometheus(cache)
    with exclusive(target.with_name(".prometheus.lock"), seconds=_BUILD_SECONDS, waiting=progress):
        if (found := find_prometheus(cache)) is not None:
            return found
        with _draft(target.parent / "prometheus-draft") as draft:
            here = shutil.which("apt-get") and shutil.which("dpkg-deb")
            sources = [DebianPackage(PROMETHEUS_PACKAGE, "usr/bin/promtool", draft / "deb")] if here else []
            made = first_of(sources, progress)
            if made is None:
                text = f"Prometheus is not here: {_why(sources)}\n{_PROMETHEUS_ADVICE}"
                raise Unavailable("prometheus_missing", text)
            # As a whole, and last: what is there is complete.
            made.parent.rename(target)
    return target


def temporal_binary(progress: Progress = silent, cache: Path | None = None, sdk: Sdk | None = None) -> Path:
    """Provides the `temporal` program: from PATH, the cache, the SDK's download or Go, whichever of the two is first.

    Args:
        progress: Told what takes time.
        cache: Where programs are kept; by default `cache_dir()`.
        sdk: What can download it; by default this interpreter where it has the SDK.

    Raises:
        Unavailable: There is none and no way to get one; the message says what would help.
    """
    if found := find_temporal(cache):
        return found
    target = _cached_temporal(cache)
    with exclusive(target.parent / ".temporal.lock", seconds=_BUILD_SECONDS, waiting=progress):
        # Another process may have made it while this one waited for the lock.
        if not (target.exists() and _runs(target)):
            with _draft(target.parent) as draft:
                sources = _downloads("dev", draft, sdk or Sdk.here())
                if shutil.which("go"):
                    sources.append(GoBuild(TEMPORAL_MODULE, draft / "go"))
                made = first_of(sources, progress)
                if made is None:
                    raise Unavailable(
                        "temporal_missing", f"The Temporal dev server is not here: {_why(sources)}\n{_TEMPORAL_ADVICE}"
                    )
                # In one step, so that no other process finds half of a program.
                made.replace(target)
    return target


def time_skipping_server(progress: Progress = silent, cache: Path | None = None, sdk: Sdk | None = None) -> Path:
    """Provides the server for `WorkflowEnvironment.start_time_skipping(test_server_existing_path=...)`.

    Args:
        progress: Told what takes time.
        cache: Where programs are kept; by default `cache_dir()`.
        sdk: What can download it; by default this interpreter where it has the SDK.

    Raises:
        Unavailable: There is none and no way to get one; the message says what would help.
    """
    target = _cached_test_server(cache)
    with exclusive(target.with_name(".test-server.lock"), seconds=_BUILD_SECONDS, waiting=progress):
        if find_test_server(cache) is None:
            # A parent of its own: what is left of a killed build is removed under the lock of that build alone.
            with _draft(target.parent / "test-server") as draft:
                sources = _downloads("test", draft, sdk or Sdk.here())
                if shutil.which("mvn") and shutil.which("java"):
                    sources.append(MavenServer(TEST_SERVER, draft / "maven"))
                made = first_of(sources, progress)
                if made is None:
                    raise Unavailable(
                        "test_server_missing",
                        f"The time-skipping server is not here: {_why(sources)}\n{_TEST_SERVER_ADVICE}",
                    )
                if made.name != "run":
                    made.rename(made.with_name("run"))
                # As a whole, and last: what is there is complete.
                made.parent.rename(target)
    return target / "run"


def _downloads(kind: Literal["dev", "test"], draft: Path, sdk: Sdk | None) -> list[Source]:
    return [SdkDownload(kind, draft / "sdk", sdk.python, sdk.ready)] if sdk else []


def _why(sources: Sequence[Source]) -> str:
    return "; ".join(source.failure() for source in sources) or "nothing here can fetch it"


def _cached_temporal(cache: Path | None) -> Path:
    return (cache or cache_dir()) / "bin" / "temporal"


def _cached_test_server(cache: Path | None) -> Path:
    return (cache or cache_dir()) / f"test-server-{TEST_SERVER[2]}"


def _cached_prometheus(cache: Path | None) -> Path:
    return (cache or cache_dir()) / "prometheus"


def _runs(program: Path) -> bool:
    try:
        result = subprocess.run(  # noqa: S603
            [str(program), "--version"], capture_output=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


@contextmanager
def _draft(parent: Path) -> Iterator[Path]:
    """Makes a directory to build in, on the same file system, gone afterwards. The caller holds the parent's lock."""
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob(".new-*"):  # of a build that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        # `mkdtemp` shuts everybody else out, and a cache may serve several users.
        draft.chmod(0o755)
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
