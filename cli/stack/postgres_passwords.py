"""Passwords of the embedded PostgreSQL's roles, in a file that libpq's own programs read."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from taskforce.core.domain.errors import Unavailable

_ANYWHERE = "*:*:*:"
"""Host, port and database of a `.pgpass` line."""
_PASSWORD_BYTES = 32
_SALT_BYTES = 16
# PostgreSQL's default (`scram_iterations`), and the least of RFC 7677, section 4.
_ITERATIONS = 4_096


class PasswordFile:
    """One password for each role, in a `.pgpass` file for this user only.

    No argument list, log or environment has them: psql is given the file's name.

    Args:
        path: The file.
        roles: Who gets one.
    """

    def __init__(self, path: Path, roles: Sequence[str]) -> None:
        self.path = path
        self._roles = tuple(roles)

    def ensure(self) -> None:
        """Makes the file where it is missing or lacks a role, and closes it to others where it was open."""
        found = self.read()
        if any(role not in found for role in self._roles):
            self._write({role: found.get(role) or secrets.token_urlsafe(_PASSWORD_BYTES) for role in self._roles})
        self.path.chmod(0o600)

    def complete(self) -> bool:
        """Returns whether every role has a password."""
        return set(self._roles) <= self.read().keys()

    def read(self) -> dict[str, str]:
        """Reads the passwords by role; empty where there is no file.

        Raises:
            Unavailable: The file belongs to somebody else.
        """
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return {}
        except PermissionError:
            text = f"{self.path} is readable by the user only who started PostgreSQL first."
            raise Unavailable("postgres_passwords", text) from None
        pairs = (line.removeprefix(_ANYWHERE).partition(":") for line in lines if line.startswith(_ANYWHERE))
        return {role: password for role, _, password in pairs if password}

    def verifiers(self) -> dict[str, str]:
        """Derives what the server keeps of each password (RFC 5803): enough to check it, not to show it."""
        return {role: _verifier(password) for role, password in self.read().items()}

    def _write(self, passwords: dict[str, str]) -> None:
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        # Not through a link: root may write in a directory of another account.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{_ANYWHERE}{role}:{password}\n" for role, password in passwords.items())
            file.flush()
            # The server has their verifiers next: passwords that a crash takes from here would lock everybody out.
            os.fsync(file.fileno())
        draft.replace(self.path)


def _verifier(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"
