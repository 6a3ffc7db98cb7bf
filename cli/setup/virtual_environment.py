"""The checkout's virtual environment: whose it is, whether it works, and what is installed in it."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cli.setup.errors import SetupFailed
from cli.stack.processes import bound

LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
"""Lock files by what is to be installed. The development lock contains the other one, at the same versions."""

_OLDEST = (3, 11)
_MARKER = ".made-by-taskforce"
_PROBE = (
    "import json, sys, sysconfig; print(json.dumps([sys.version_info[:2], sys.prefix, sysconfig.get_path('purelib')]))"
)


@dataclass(frozen=True, slots=True)
class _Interpreter:
    version: tuple[int, int]
    prefix: str
    packages: Path


class VirtualEnvironment:
    """The virtual environment `.venv` of a checkout.

    Args:
        root: The checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".venv"
        self.python = self.path / "bin" / "python"

    @property
    def tools(self) -> Path:
        """Returns the directory of the set-up's own programs, away from what is locked."""
        return self.path / "tools"

    def exists(self) -> bool:
        """Returns whether anything has that name, also a link to nowhere."""
        return os.path.lexists(self.path)

    def ours(self) -> bool:
        """Returns whether this set-up made it, so that it may be removed. A link never is."""
        marks = (_MARKER, ".installed-run", ".installed-dev")
        return not self.path.is_symlink() and any((self.path / mark).is_file() for mark in marks)

    def usable(self) -> bool:
        """Returns whether its interpreter runs and is new enough."""
        found = self._interpreter()
        return found is not None and found.version >= _OLDEST

    def make(self) -> None:
        """Makes it, in the place of one of ours that does not work.

        Raises:
            SetupFailed: What is there is somebody else's, or Python cannot make one.
        """
        self.remove()
        self.path.mkdir()
        (self.path / _MARKER).touch()  # first: what an interrupted set-up leaves is ours too
        command = [_base_python(), "-I", "-m", "venv", str(self.path)]
        done = subprocess.run(bound(command), capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            text = (done.stderr + done.stdout).strip()
            raise SetupFailed(f"Python could not make a virtual environment:\n{text}")

    def remove(self) -> None:
        """Removes it; nothing happens when there is none.

        Raises:
            SetupFailed: It is somebody else's.
        """
        if not self.exists():
            return
        if not self.ours():
            raise SetupFailed(
                f"{self.path} was not made by this set-up, so it is neither used nor removed. "
                "Move it away, or remove it yourself."
            )
        shutil.rmtree(self.path)

    def lent(self) -> bool:
        """Returns whether it is a link to another one, used as it is: installing would change it for its owner."""
        return self.path.is_symlink() and self.usable()

    def installed(self, kind: str) -> bool:
        """Returns whether all of a lock file is installed, by this interpreter, at this place."""
        if self.lent():
            return True
        try:
            return self._stamp(kind).read_text().strip() == self._wanted(kind)
        except OSError:
            return False

    def noted(self) -> bool:
        """Returns whether some lock file is installed, as far as a look at a file tells."""
        return self._stamp("run").exists()

    def forget(self) -> None:
        """Notes that what is installed is about to change."""
        for kind in LOCKS:
            self._stamp(kind).unlink(missing_ok=True)

    def remember(self, kind: str) -> None:
        """Notes that a lock file is installed."""
        for one in ("run", "dev") if kind == "dev" else ("run",):
            self._stamp(one).write_text(self._wanted(one) + "\n")

    def install_project(self) -> None:
        """Puts the checkout on the path, and its command into `bin`: without a build and without an index."""
        found = self._interpreter()
        if found is None:
            raise SetupFailed(f"{self.python} does not run.")
        (found.packages / "taskforce-checkout.pth").write_text(f"{self.root}\n")
        command = self.path / "bin" / "taskforce"
        # Quoted by the shell's rules: a path may hold blanks, quotes and dollars.
        python = shlex.quote(str(self.python))
        command.write_text(f'#!/bin/sh\nunset PYTHONHOME\nexec {python} -P -m cli.main "$@"\n')
        command.chmod(0o755)

    def _stamp(self, kind: str) -> Path:
        return self.path / f".installed-{kind}"

    def _wanted(self, kind: str) -> str:
        # A checkout that was moved has programs that name the old place: the prefix is part of it.
        digest = hashlib.sha256((self.root / LOCKS[kind]).read_bytes()).hexdigest()
        found = self._interpreter()
        return f"{digest} {found.version} {found.prefix}" if found else ""

    def _interpreter(self) -> _Interpreter | None:
        # Asked, not derived from its path: a link or a moved directory may lead to another interpreter.
        command = [str(self.python), "-I", "-c", _PROBE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            version, prefix, packages = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.CalledProcessError):
            return None
        return _Interpreter((int(version[0]), int(version[1])), str(prefix), Path(str(packages)))


def _base_python() -> str:
    """Finds the interpreter to make a virtual environment with: never one of another virtual environment."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)
