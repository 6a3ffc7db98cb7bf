"""Installs a lock file into the virtual environment, every package checked against its hash: by uv, else by pip."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cli.setup.errors import SetupFailed
from cli.setup.installer_settings import pip_environment, pip_settings, uv_environment
from cli.setup.virtual_environment import LOCKS, VirtualEnvironment
from cli.stack.processes import bound, tail
from cli.stack.sources import Progress

UV_LOCK = "requirements-uv.lock"
"""The one uv that is fetched where there is none, pinned by its hashes."""

_UV_OLDEST = (0, 5)


def install(environment: VirtualEnvironment, kind: str, progress: Progress) -> str:
    """Brings the virtual environment up to date with a lock file; makes it if need be.

    Args:
        environment: The checkout's.
        kind: `run` or `dev`.
        progress: Told what takes time.

    Returns:
        What was done, in a few words.

    Raises:
        SetupFailed: It cannot be made, or not everything could be installed.
    """
    if environment.usable() and environment.installed(kind):
        return "there already"
    if not environment.usable():
        progress("making .venv")
        environment.make()
    # What is half installed must not be taken for whole after a crash.
    environment.forget()
    lock = environment.root / LOCKS[kind]
    installer = _install(environment, lock, progress)
    environment.install_project()
    environment.remember(kind)
    return f"{packages_in(lock)} or fewer from {lock.name}, each checked against its hash, by {installer}"


def packages_in(lock: Path) -> int:
    """Counts the packages in a lock file; some are for other systems only."""
    return len(re.findall(r"^[A-Za-z0-9].*==", lock.read_text(), re.MULTILINE))


def _install(environment: VirtualEnvironment, lock: Path, progress: Progress) -> str:
    settings = pip_settings(environment.python)
    for_pip = pip_environment(settings)
    for_uv = uv_environment(settings, environment.root)
    if for_uv is not None and (uv := _uv(environment, for_pip, progress)):
        if _install_by_uv(uv, environment, lock, for_uv, progress):
            return "uv"
        progress("uv could not; pip tries")
    _install_by_pip(environment, lock, for_pip, progress)
    return "pip"


def _uv(environment: VirtualEnvironment, for_pip: Mapping[str, str], progress: Progress) -> Path | None:
    """Finds a uv that runs: on PATH, fetched before, or fetched now. None where it cannot be had."""
    ours = environment.tools / "bin" / "uv"
    on_path = shutil.which("uv")
    for candidate in (Path(on_path) if on_path else None, ours):
        if candidate and _uv_version(candidate) >= _UV_OLDEST:
            return candidate
    progress("fetching uv, which installs the packages")
    # `-I`: neither the person's PYTHON variables nor packages of their own have a say.
    command = [str(environment.python), "-I", "-m", "pip", "install", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--upgrade", "--target", str(environment.tools)]
    command += ["--requirement", str(environment.root / UV_LOCK)]
    done = subprocess.run(bound(command), env=dict(for_pip), capture_output=True, check=False)  # noqa: S603
    return ours if done.returncode == 0 and _uv_version(ours) >= _UV_OLDEST else None


def _uv_version(program: Path) -> tuple[int, ...]:
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.match(r"uv (\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def _install_by_uv(
    uv: Path, environment: VirtualEnvironment, lock: Path, variables: Mapping[str, str], progress: Progress
) -> bool:
    command = [str(uv), "pip", "install", "--python", str(environment.python), "--require-hashes", "--no-deps"]
    command += ["--requirement", str(lock)]
    log = environment.path / "uv.log"
    return _run(command, variables, log, lambda line: progress(f"uv: {line}"), environment.root) == 0


def _install_by_pip(
    environment: VirtualEnvironment, lock: Path, variables: Mapping[str, str], progress: Progress
) -> None:
    command = [str(environment.python), "-I", "-m", "pip", "install", "--no-color", "--require-hashes"]
    command += ["--requirement", str(lock)]
    log = environment.path / "pip.log"
    if _run(command, variables, log, _PipLines(packages_in(lock), progress), environment.root):
        raise SetupFailed(f"pip could not install {lock.name} (all it said is in {log}):\n{tail(log, 12)}")


class _PipLines:
    """Counts what pip says, which is three lines a package.

    Args:
        most: How many packages there are at most.
        progress: Told of each.
    """

    def __init__(self, most: int, progress: Progress) -> None:
        self._most = most
        self._progress = progress
        self._count = 0

    def __call__(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        if verb == "Collecting":
            self._count += 1
            self._progress(f"pip: {self._count} of at most {self._most}, {rest.partition('==')[0]}")
        elif verb == "Installing":
            self._progress(f"pip: unpacking {self._count} packages")


def _run(
    command: Sequence[str], variables: Mapping[str, str], log: Path, heard: Callable[[str], None], directory: Path
) -> int:
    with (
        log.open("w") as kept,
        subprocess.Popen(  # noqa: S603
            bound(command),
            cwd=directory,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                kept.write(line)
                kept.flush()
                if line.strip():
                    heard(line.strip())
        # Also Ctrl-C: an installer that goes on would write beside the next one.
        except BaseException:
            process.terminate()
            raise
    return process.returncode
