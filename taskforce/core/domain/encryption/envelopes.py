"""The envelope of an encrypted value: `key_id:algorithm:ciphertext` (guide 5.2)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from taskforce.core.domain.errors import Invalid

MAX_VERSION: Final = 999_999
_HEADER: Final = re.compile(rb"tenant:([A-Za-z0-9._-]{1,64}):v([1-9][0-9]{0,5}):(fernet|aes-gcm):")


class Algorithm(StrEnum):
    """An authenticated cipher: Fernet (AES-128-CBC and HMAC-SHA-256), or AES-GCM with a key of 256 bits."""

    FERNET = "fernet"
    AES_GCM = "aes-gcm"


def key_id(tenant_id: str, version: int) -> str:
    """Returns the id of a tenant's key, for example `tenant:acme-corp:v1`.

    Args:
        tenant_id: The tenant.
        version: The version of its key, from 1.
    """
    return f"tenant:{tenant_id}:v{version}"


@dataclass(frozen=True, slots=True)
class EnvelopeHeader:
    """The readable part of an envelope; the ciphertext is bound to it.

    Attributes:
        tenant_id: The tenant whose key encrypts the value.
        version: The version of that key.
        algorithm: The cipher.
    """

    tenant_id: str
    version: int
    algorithm: Algorithm

    @classmethod
    def parse(cls, envelope: bytes) -> tuple[Self, memoryview]:
        """Splits an envelope.

        Args:
            envelope: The whole envelope.

        Returns:
            The header, and the ciphertext behind it.

        Raises:
            Invalid: `envelope_invalid`: it does not begin as an envelope does.
        """
        found = _HEADER.match(envelope)
        if found is None:
            raise Invalid("envelope_invalid", "An encrypted value does not begin with its key's id and its algorithm.")
        tenant_id, version, algorithm = found.groups()
        header = cls(tenant_id.decode(), int(version), Algorithm(algorithm.decode()))
        return header, memoryview(envelope)[found.end() :]

    @property
    def key_id(self) -> str:
        """Returns the id of the key."""
        return key_id(self.tenant_id, self.version)

    def render(self) -> bytes:
        """Renders what stands before the ciphertext."""
        return f"{self.key_id}:{self.algorithm.value}:".encode()
