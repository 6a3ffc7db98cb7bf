"""Column encryption: AES-256-GCM, bound to the place of the value.

A sealed value is `tfs1`, a nonce of twelve bytes, and the ciphertext with its tag. The key is derived from
`TASKFORCE_ENCRYPTION_KEY`; the place (tenant, table, column, row) is associated data, so that a value that is copied
into another row or another tenant's table cannot be decrypted. Another scheme gets another prefix.
"""

import json
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.keys.ciphers import RefusedError, open_gcm, seal_gcm
from taskforce.infrastructure.keys.derivation import derived_key

VARIABLE = "TASKFORCE_ENCRYPTION_KEY"
PREFIX = b"tfs1"

_PURPOSE = "taskforce/sealed-column/1"


@dataclass(frozen=True, slots=True)
class Place:
    """Identifies the place of an encrypted value: tenant, table, column and row."""

    tenant_id: str
    table: str
    column: str
    row: str

    def associated(self) -> bytes:
        """Returns the place as associated data; no two places have the same."""
        return json.dumps([self.tenant_id, self.table, self.column, self.row]).encode()


class ColumnSealer:
    """Encrypts and decrypts columns.

    Args:
        master: The 32 bytes of `TASKFORCE_ENCRYPTION_KEY`; None where it is not set: then nothing can be encrypted.
    """

    def __init__(self, master: bytes | None = None) -> None:
        self._cipher = None if master is None else AESGCM(derived_key(master, _PURPOSE))

    def seal(self, plaintext: str, place: Place) -> bytes:
        """Encrypts a text for a place.

        Raises:
            Unavailable: `encryption_key_missing`.
        """
        # The prefix is bound too, so that no other scheme's value can be passed off as one of this.
        return PREFIX + seal_gcm(self._ready(), plaintext.encode(), PREFIX + place.associated())

    def open(self, sealed: bytes, place: Place) -> str:
        """Decrypts what was encrypted for the place.

        Raises:
            Unavailable: `encryption_key_missing`; `encryption_key_wrong`: it was sealed with another key, for another
                place, or was changed.
        """
        cipher = self._ready()
        if not sealed.startswith(PREFIX):
            raise _wrong()
        try:
            return open_gcm(cipher, memoryview(sealed)[len(PREFIX) :], PREFIX + place.associated()).decode()
        except RefusedError:
            raise _wrong() from None

    def _ready(self) -> AESGCM:
        if self._cipher is None:
            text = (
                f"Secrets are kept encrypted, and {VARIABLE} is not set. Set it to 32 random bytes in base64 "
                "(openssl rand -base64 32), the same for every gateway and worker, and start them again."
            )
            raise Unavailable("encryption_key_missing", text)
        return self._cipher


def _wrong() -> Unavailable:
    text = f"A stored secret cannot be opened: {VARIABLE} is not the key that it was sealed with."
    return Unavailable("encryption_key_wrong", text)
