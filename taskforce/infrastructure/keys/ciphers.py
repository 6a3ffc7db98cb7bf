"""Authenticated encryption by one key, with data that is bound to the ciphertext and not part of it."""

import base64
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from taskforce.core.domain.encryption.envelopes import Algorithm
from taskforce.infrastructure.keys.derivation import derived_key

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


class RefusedError(Exception):
    """A ciphertext was made by another key or for another place, or was changed or cut."""


class TenantCipher:
    """Encrypts and decrypts by one key.

    Each algorithm has a key of its own, derived from it. Fernet knows no associated data: its key is derived from that
    too, so that a token is an ordinary one, and opens for the same data only.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._gcm = AESGCM(derived_key(key, "taskforce/aes-gcm/1"))
        self._fernet_key = derived_key(key, "taskforce/fernet/1")

    def encrypt(self, algorithm: Algorithm, plaintext: bytes, associated: bytes) -> bytes:
        """Encrypts a text of bytes.

        Args:
            algorithm: The cipher.
            plaintext: What to encrypt.
            associated: What the ciphertext is bound to.
        """
        if algorithm is Algorithm.AES_GCM:
            return seal_gcm(self._gcm, plaintext, associated)
        return self._fernet(associated).encrypt(plaintext)

    def decrypt(self, algorithm: Algorithm, ciphertext: memoryview, associated: bytes) -> bytes:
        """Decrypts what `encrypt` has made.

        Raises:
            RefusedError: It does not open.
        """
        if algorithm is Algorithm.AES_GCM:
            return open_gcm(self._gcm, ciphertext, associated)
        return open_fernet(self._fernet(associated), ciphertext)

    def _fernet(self, associated: bytes) -> Fernet:
        return fernet(derived_key(self._fernet_key, associated.hex()))


def fernet(key: bytes) -> Fernet:
    """Returns Fernet by a key of 32 bytes."""
    return Fernet(base64.urlsafe_b64encode(key))


def seal_gcm(cipher: AESGCM, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypts by AES-GCM; the result is the nonce, the ciphertext and its tag.

    Args:
        cipher: The cipher with its key.
        plaintext: What to encrypt.
        associated: What the ciphertext is bound to.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plaintext, associated)


def open_gcm(cipher: AESGCM, sealed: memoryview, associated: bytes) -> bytes:
    """Decrypts what `seal_gcm` has made.

    Raises:
        RefusedError: It does not open.
    """
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise RefusedError
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        raise RefusedError from None


def open_fernet(cipher: Fernet, token: memoryview) -> bytes:
    """Decrypts a token of Fernet, however old it is.

    Raises:
        RefusedError: It does not open, or is not written as Fernet writes it.
    """
    written = bytes(token)
    try:
        # Python's decoder passes over what follows the padding, so that two tokens would be one value.
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(written)) != written:
            raise RefusedError
        return cipher.decrypt(written)
    except (ValueError, InvalidToken):
        raise RefusedError from None
