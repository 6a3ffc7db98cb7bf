"""Where programs come from that no Python package brings: the Temporal SDK's download, Go, Maven and Debian.

Sources race: the first that has the program ends the others. Standard library only, so that a build begins before there
is a virtual environment.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from cli.stack.processes import bound, environment_without, tail

Progress = Callable[[str], None]
"""Told what is being done, in a few words, often enough to be shown."""

_STALL_SECONDS = 20
_POLL_SECONDS = 0.25
_STOP_SECONDS = 10
_DOWNLOADER = Path(__file__).with_name("sdk_download.py")
_GO_PACKAGES = 1_300
"""Packages that Go compiles for the Temporal CLI, the standard library's among them."""
_LAUNCHER = """#!/bin/sh
unset CDPATH
here=$(cd -- "$(dirname -- "$0")" && pwd)
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


class Source(Protocol):
    """The protocol of a way to get a program."""

    def begin(self) -> None:
        """Starts the download or build; returns at once."""

    def ended(self) -> bool:
        """Returns whether the download or build has ended, well or not."""

    def program(self) -> Path | None:
        """Returns the program, once the source has ended well."""

    def state(self) -> str:
        """Returns the progress in a few words; empty when there is nothing to tell."""

    def failure(self) -> str:
        """Returns the reason why there is no program, once the source has ended."""

    def stop(self) -> None:
        """Stops the download or build, if it runs."""


def first_of(sources: Sequence[Source], progress: Progress) -> Path | None:
    """Returns the program of the first source that has it, or None when none does. All have ended afterwards.

    Args:
        sources: Different ways to the same program.
        progress: Told what they do.
    """
    try:
        for source in sources:
            source.begin()
        while not all(source.ended() for source in sources):
            if found := _found(sources):
                return found
            progress("; ".join(filter(None, (source.state() for source in sources if not source.ended()))))
            time.sleep(_POLL_SECONDS)
        return _found(sources)
    finally:
        for source in sources:
            source.stop()


def _found(sources: Sequence[Source]) -> Path | None:
    return next((found for source in sources if source.ended() and (found := source.program())), None)


class _Program:
    """A program at work in a directory of its own, with a log; its children end with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                bound(command),
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A group of its own, so that `stop` ends the compilers too.
                start_new_session=True,
            )

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def succeeded(self) -> bool:
        return self._process is not None and self._process.poll() == 0

    def stop(self) -> None:
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):  # compilers outlive a `go` that has ended
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
                return


class SdkDownload:
    """The Temporal SDK's own download; it stops when nothing arrives for a while.

    Args:
        kind: `dev` for the dev server, `test` for the time-skipping one.
        directory: Its own, where the program ends up.
        python: An interpreter that has the SDK.
        ready: Whether it has it yet.
    """

    def __init__(
        self, kind: Literal["dev", "test"], directory: Path, python: Path, ready: Callable[[], bool] = lambda: True
    ) -> None:
        self._kind = kind
        self._python = python
        self._ready = ready
        self._program = _Program(directory)
        self._begun = False
        self._size = 0
        self._grown = 0.0

    def begin(self) -> None:
        """Starts the download once an interpreter has the SDK; returns at once."""
        if not self._begun and self._ready():
            self._begun, self._grown = True, time.monotonic()
            # `-P`: a script's own directory would come first on the import path, with our `ports` and `locks` in it.
            command = [str(self._python), "-P", str(_DOWNLOADER), self._kind, str(self._program.directory)]
            self._program.launch(command, environment_without())

    def ended(self) -> bool:
        """Returns whether the download has ended, well or not."""
        self.begin()
        if self._begun and self._program.running() and self._stalled():
            self._program.stop()
        return self._begun and not self._program.running()

    def _stalled(self) -> bool:
        files = self._program.directory.rglob("*")
        size = sum(path.stat().st_size for path in files if path.is_file())
        if size != self._size:
            self._size, self._grown = size, time.monotonic()
        return time.monotonic() - self._grown > _STALL_SECONDS

    def program(self) -> Path | None:
        """Returns the downloaded program, once the download has ended well."""
        if not self._program.succeeded():
            return None
        files = [path for path in self._program.directory.iterdir() if path.is_file() and path != self._program.log]
        # The SDK chooses the program's name; it is by far the largest file.
        found = max(files, key=lambda path: path.stat().st_size, default=None)
        return found if found and os.access(found, os.X_OK) and found.stat().st_size > 0 else None

    def state(self) -> str:
        """Returns how much has arrived; empty before the beginning."""
        megabytes = self._size // 1_000_000
        return f"downloading through the Temporal SDK, {megabytes} MB" if self._begun else ""

    def failure(self) -> str:
        """Returns that the download failed."""
        return "it could not be downloaded"

    def stop(self) -> None:
        """Stops the download."""
        self._program.stop()


class GoBuild:
    """A command that Go builds from the module proxy, without what only a debugger needs.

    Args:
        module: Package and version.
        directory: Its own, where the program ends up.
    """

    def __init__(self, module: str, directory: Path) -> None:
        self._module = module
        self._program = _Program(directory)
        self._started = 0.0

    def begin(self) -> None:
        """Starts the build; returns at once."""
        self._started = time.monotonic()
        command = ["go", "install", "-v", "-trimpath", "-ldflags=-s -w", self._module]
        self._program.launch(command, self._environment())

    def _environment(self) -> dict[str, str]:
        # What a person has set for projects of their own would build for another machine, elsewhere, or not at all.
        given = environment_without("GOBIN", "GOOS", "GOARCH", "GO111MODULE", "GOWORK")
        flags = (flag for flag in given.get("GOFLAGS", "").split() if not flag.startswith(("-mod=", "-modfile=")))
        # Its SQLite is written in Go: without C it builds where no C compiler is. Go's compiler collects garbage as any
        # program in Go; less often, it needs a tenth less time and some hundred megabytes more.
        ours = {"GOFLAGS": " ".join(flags), "GOBIN": str(self._program.directory), "CGO_ENABLED": "0", "GOGC": "400"}
        return {**given, **ours}

    def ended(self) -> bool:
        """Returns whether the build has ended, well or not."""
        return not self._program.running()

    def program(self) -> Path | None:
        """Returns the built program, once the build has ended well."""
        return self._program.directory / "temporal" if self._program.succeeded() else None

    def state(self) -> str:
        """Returns the packages fetched or built so far."""
        lines = self._program.log.read_bytes().splitlines()
        fetched = sum(line.startswith(b"go: downloading") for line in lines)
        built = len(lines) - fetched
        seconds = int(time.monotonic() - self._started)
        if not built:
            return f"Go fetches modules, {fetched} so far, {seconds} s"
        return f"Go builds it, {built} of about {max(_GO_PACKAGES, built)} packages, {seconds} s"

    def failure(self) -> str:
        """Returns the end of Go's output."""
        return f"Go could not build it:\n{tail(self._program.log, 10)}"

    def stop(self) -> None:
        """Stops the build and its compilers."""
        self._program.stop()


class MavenServer:
    """The time-skipping server's jars and a script that starts them.

    Args:
        artifact: Group, artifact and version.
        directory: Its own, where the jars and the script end up.
    """

    def __init__(self, artifact: tuple[str, str, str], directory: Path) -> None:
        self._artifact = artifact
        self._directory = directory
        self._program = _Program(directory)

    def begin(self) -> None:
        """Starts Maven; returns at once."""
        self._directory.mkdir(parents=True, exist_ok=True)
        pom = self._directory / "pom.xml"
        pom.write_text(_POM.format(*self._artifact))
        command = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
        self._program.launch([*command, f"-DoutputDirectory={self._directory / 'lib'}"], environment_without())

    def ended(self) -> bool:
        """Returns whether the Maven run has ended, well or not."""
        return not self._program.running()

    def program(self) -> Path | None:
        """Writes the script that starts the jars, once Maven has ended well, and returns it."""
        if not self._program.succeeded():
            return None
        launcher = self._directory / "run"
        launcher.write_text(_LAUNCHER)
        launcher.chmod(0o755)
        return launcher

    def state(self) -> str:
        """Returns that Maven fetches the jars."""
        return "Maven fetches it"

    def failure(self) -> str:
        """Returns the end of Maven's output."""
        return f"Maven failed:\n{tail(self._program.log, 10)}"

    def stop(self) -> None:
        """Stops Maven."""
        self._program.stop()


class DebianPackage:
    """A package of Debian, unpacked into a directory; the system stays as it is.

    Args:
        package: Its name.
        program: The path of the wanted program within.
        directory: Its own, where the package is unpacked.
    """

    def __init__(self, package: str, program: str, directory: Path) -> None:
        self._package = package
        self._directory = directory
        self._path = directory / "unpacked" / program
        self._program = _Program(directory)

    def begin(self) -> None:
        """Starts the download; returns at once."""
        # Without lists of packages, which only root may fetch, the first attempt finds nothing.
        script = (
            f"apt-get download {self._package} || {{ apt-get update && apt-get download {self._package}; }}; "
            f"dpkg-deb -x {self._package}_*.deb unpacked"
        )
        self._program.launch(["sh", "-c", script], environment_without())

    def ended(self) -> bool:
        """Returns whether the download has ended, well or not."""
        return not self._program.running()

    def program(self) -> Path | None:
        """Returns the program, once the package is unpacked."""
        return self._path if self._program.succeeded() and self._path.exists() else None

    def state(self) -> str:
        """Returns that the package is fetched."""
        return f"apt fetches {self._package}"

    def failure(self) -> str:
        """Returns the end of the output."""
        return f"apt failed:\n{tail(self._program.log, 10)}"

    def stop(self) -> None:
        """Stops the download."""
        self._program.stop()
