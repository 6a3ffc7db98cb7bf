"""Who the embedded PostgreSQL runs as: this user, or for root, as whom it refuses to run, a user of its own."""

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from taskforce.core.domain.errors import Conflict

_OWN = range(61_017, 61_117)
"""Numbers that neither distributions nor systemd hand out. No process but PostgreSQL has the one that is taken."""


class RunAs(TypedDict, total=False):
    """The arguments with which `subprocess` changes the user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The server's account.

    Attributes:
        uid: Its user.
        gid: Its group.
        borrowed: It is not the account of this process, so that files must be given to it.
    """

    uid: int
    gid: int
    borrowed: bool

    @classmethod
    def for_server(cls) -> "Account":
        """Returns the account that a server started by this process gets."""
        # PostgreSQL refuses to run as root; nobody else could give it another account.
        if os.geteuid():
            return cls(os.geteuid(), os.getegid(), borrowed=False)
        number = next(number for number in _OWN if _unnamed(number))
        return cls(number, number, borrowed=True)

    def owning(self, path: Path) -> "Account":
        """Returns the account that a path belongs to, for root, who acts for any; this process's own for others."""
        if not (self.borrowed and path.exists()):
            return self
        found = path.stat()
        return replace(self, uid=found.st_uid, gid=found.st_gid)

    def named(self) -> "Account":
        """Returns an account of the same group whose user has a name, without which `initdb` does not run."""
        return replace(self, uid=pwd.getpwnam("nobody").pw_uid) if self.borrowed else self

    def run_as(self) -> RunAs:
        """Builds arguments for `subprocess.run`; none when nothing changes."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.borrowed else {}

    def give(self, path: Path) -> None:
        """Makes the account the owner of a path."""
        if self.borrowed:
            os.chown(path, self.uid, self.gid)

    def take(self, root: Path) -> None:
        """Makes the account the owner of a whole tree, except of what is root's."""
        if self.borrowed:
            for path in (root, *root.rglob("*")):
                # What root owns there was put there by root, and is not given away.
                if path.lstat().st_uid not in {0, self.uid}:
                    os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def owns(self, path: Path) -> bool:
        """Returns whether a path is the account's."""
        return path.stat().st_uid == self.uid

    def admit(self, data_parent: Path, programs: Path) -> tuple[Path, ...]:
        """Lets a borrowed account pass (never list) the directories that lead to its data and its programs.

        Args:
            data_parent: The directory that holds its data directory.
            programs: The root of its programs; they become readable where they cannot be run.

        Returns:
            What had to be opened, outermost first; nothing where the account reaches both already.
        """
        if not self.borrowed or self._reaches(data_parent, programs):
            return ()
        ways = sorted({*_upwards(data_parent), *_upwards(programs)})
        opened = [directory for directory in ways if not self._passes(directory)]
        for directory in opened:
            _add_mode(directory, stat.S_IXOTH)
        if not (programs / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
            _open_tree(programs)
            opened.append(programs / "*")
        return tuple(opened)

    def _reaches(self, data_parent: Path, programs: Path) -> bool:
        # Asked of the kernel, as that account, for it knows of access lists and groups.
        script = 'test -x "$1" && test -x "$2" && test -r "$2"'
        command = ["/bin/sh", "-c", script, "sh", str(data_parent), str(programs / "bin" / "postgres")]
        return subprocess.run(command, cwd="/", env={}, check=False, **self.run_as()).returncode == 0  # noqa: S603

    def _passes(self, directory: Path) -> bool:
        found = directory.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        return bool(found.st_mode & (stat.S_IXGRP if found.st_gid == self.gid else stat.S_IXOTH))

    def private_directory(self, path: Path) -> Path:
        """Makes a directory for this account only, in a place where others may write.

        Raises:
            Conflict: Somebody else made it.
        """
        try:
            path.mkdir(mode=0o700)
            self.give(path)
        except FileExistsError:
            found = path.lstat()
            # Its name can be guessed, and everybody may write to the directory above.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.uid or found.st_mode & 0o077:
                raise Conflict("socket_directory", f"{path} belongs to somebody else; remove it.") from None
        return path


def _unnamed(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return True
    return False


def _upwards(path: Path) -> list[Path]:
    return [path, *path.parents]


def _add_mode(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)


def _open_tree(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if runnable else 0))
