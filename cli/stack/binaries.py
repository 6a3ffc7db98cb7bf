"""Programs that the stack needs and that no Python package brings: found, downloaded or built, once."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from cli.stack.home import exclusive
from cli.stack.processes import environment_without, tail
from taskforce.core.domain.errors import Unavailable

TEMPORAL_MODULE = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
TEST_SERVER = ("io.temporal", "temporal-test-server", "1.32.0")

_BUILD_SECONDS = 1800
_STALL_SECONDS = 20
_POLL_SECONDS = 0.5
_DOWNLOADER = Path(__file__).with_name("sdk_download.py")
_LAUNCHER = """#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$here/lib/*" io.temporal.testserver.TestServer "$@"
"""
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>launcher</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>{0}</groupId><artifactId>{1}</artifactId><version>{2}</version>
  </dependency></dependencies>
</project>
"""

Progress = Callable[[str], None]
"""Told what is being done, in a few words, often enough to be shown."""


def silent(_: str) -> None:
    """A progress that nobody watches."""


def cache_dir() -> Path:
    """Where programs are kept for all checkouts: TASKFORCE_CACHE, else the user's cache directory."""
    if chosen := os.environ.get("TASKFORCE_CACHE"):
        return Path(chosen).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskforce"


def find_temporal(cache: Path | None = None) -> Path | None:
    """The `temporal` program if it is here already: on PATH, or in the cache."""
    on_path = shutil.which("temporal")
    for candidate in (Path(on_path) if on_path else None, _cached_temporal(cache)):
        if candidate and candidate.exists() and _runs(candidate):
            return candidate
    return None


def temporal_binary(progress: Progress = silent, cache: Path | None = None) -> Path:
    """The `temporal` program: from PATH, the cache, the SDK's download, or built by Go (two to three minutes).

    Args:
        progress: Told what takes time.
        cache: Where programs are kept; by default `cache_dir()`.

    Raises:
        Unavailable: There is none and no way to get one; the message says what would help.
    """
    if found := find_temporal(cache):
        return found
    target = _cached_temporal(cache)
    with exclusive(target.parent / ".temporal.lock", seconds=_BUILD_SECONDS):
        if not (target.exists() and _runs(target)):
            with _draft(target.parent) as draft:
                made = _sdk_download("dev", draft, progress) or _go_install(draft, progress)
                made.replace(target)
    return target


def time_skipping_server(progress: Progress = silent, cache: Path | None = None) -> Path:
    """The time-skipping server, for `WorkflowEnvironment.start_time_skipping(test_server_existing_path=...)`.

    Args:
        progress: Told what takes time.
        cache: Where programs are kept; by default `cache_dir()`.

    Raises:
        Unavailable: There is none and no way to get one; the message says what would help.
    """
    target = (cache or cache_dir()) / f"test-server-{TEST_SERVER[2]}"
    with exclusive(target.with_name(".test-server.lock"), seconds=_BUILD_SECONDS):
        if not (target / "run").exists():
            with _draft(target.parent) as draft:
                _make_test_server(draft, progress)
                draft.rename(target)
    return target / "run"


def _make_test_server(draft: Path, progress: Progress) -> None:
    if downloaded := _sdk_download("test", draft, progress):
        downloaded.rename(draft / "run")
        return
    _maven_download(draft, progress)
    launcher = draft / "run"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)


def _cached_temporal(cache: Path | None) -> Path:
    return (cache or cache_dir()) / "bin" / "temporal"


def _runs(program: Path) -> bool:
    try:
        result = subprocess.run(  # noqa: S603
            [str(program), "--version"], capture_output=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def _sdk_download(kind: Literal["dev", "test"], draft: Path, progress: Progress) -> Path | None:
    """The program that the SDK downloaded, or None: no network is no error, there are other ways."""
    progress("downloading through the Temporal SDK")
    command = [sys.executable, "-P", str(_DOWNLOADER), kind, str(draft)]
    with (draft / "download.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
    try:
        succeeded = _wait_while_growing(process, draft, progress) == 0
    finally:
        process.kill()
        process.wait()
    files = [path for path in draft.iterdir() if path.is_file() and path.name != "download.log"]
    found = max(files, key=lambda path: path.stat().st_size, default=None)
    return found if succeeded and found and _is_program(found) else None


def _wait_while_growing(process: "subprocess.Popen[bytes]", directory: Path, progress: Progress) -> int | None:
    size, grown = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        now = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        if now != size:
            size, grown = now, time.monotonic()
            progress(f"downloading through the Temporal SDK, {size // 1_000_000} MB")
        if time.monotonic() - grown > _STALL_SECONDS:
            return None
    return process.returncode


def _is_program(path: Path) -> bool:
    return os.access(path, os.X_OK) and path.stat().st_size > 0


def _go_install(draft: Path, progress: Progress) -> Path:
    if not shutil.which("go"):
        raise Unavailable(
            "temporal_missing",
            "The Temporal dev server is not here and could not be downloaded. Put the Temporal CLI (`temporal`) on "
            "PATH, install Go so that it can be built, or set TEMPORAL_ADDRESS to a Temporal that runs already.",
        )
    progress("building with Go, two to three minutes the first time")
    log = draft / "build.log"
    environment = {**environment_without("GOBIN", "GOOS", "GOARCH"), "GOBIN": str(draft)}
    process = _logged(["go", "install", "-v", TEMPORAL_MODULE], log, environment)
    _follow(process, log, progress)
    if process.returncode:
        text = f"Building the Temporal dev server failed:\n{tail(log, 10)}"
        raise Unavailable("temporal_build_failed", text)
    return draft / "temporal"


def _follow(process: "subprocess.Popen[bytes]", log: Path, progress: Progress) -> None:
    started = time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
            seconds = int(time.monotonic() - started)
            progress(f"building with Go, {len(log.read_bytes().splitlines())} packages so far, {seconds} s")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _maven_download(draft: Path, progress: Progress) -> None:
    if not (shutil.which("mvn") and shutil.which("java")):
        raise Unavailable(
            "test_server_missing",
            "The time-skipping server is not here and could not be downloaded. Install a JDK and Maven, or connect "
            "to the internet.",
        )
    progress("fetching the time-skipping server from Maven")
    (draft / "pom.xml").write_text(_POM.format(*TEST_SERVER))
    command = ["mvn", "-B", "-q", "-f", str(draft / "pom.xml"), "dependency:copy-dependencies"]
    process = _logged([*command, f"-DoutputDirectory={draft / 'lib'}"], draft / "build.log", dict(os.environ))
    if process.wait():
        raise Unavailable("test_server_build_failed", f"Maven failed:\n{tail(draft / 'build.log', 10)}")


def _logged(command: list[str], log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment)  # noqa: S603


@contextmanager
def _draft(parent: Path) -> Iterator[Path]:
    """A directory to build in, on the same file system, gone afterwards unless it was renamed."""
    for leftover in parent.glob(".new-*"):  # of a build that was killed; the caller holds the lock
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        draft.chmod(0o755)
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
