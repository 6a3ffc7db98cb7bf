"""Keys derived from the deployment's one secret, each for one purpose."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from taskforce.core.domain.encryption.keys import KEY_BYTES


def derived_key(master: bytes, purpose: str) -> bytes:
    """Derives a key by HKDF-SHA-256 (RFC 5869); two purposes never share one.

    Args:
        master: The 32 bytes of `TASKFORCE_ENCRYPTION_KEY`.
        purpose: The purpose of the key, with a version.

    Raises:
        ValueError: The master key has another length.
    """
    if len(master) != KEY_BYTES:
        raise ValueError(f"An encryption key has {KEY_BYTES} bytes.")
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(master)
