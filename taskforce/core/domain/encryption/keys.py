"""A tenant's keys: their versions, what each may still be used for, and how often one may encrypt."""

import base64
from enum import StrEnum
from itertools import pairwise
from typing import Final

MAX_USES: Final = 1 << 28
"""Values that one key encrypts before it is rotated.

NIST SP 800-38D, 8.3 allows 2^32 with random nonces of 96 bits; at a sixteenth of that two nonces are alike with a
probability of 2^-41.
"""
KEY_BYTES: Final = 32
FEWEST_DISTINCT: Final = 16
"""Distinct bytes that a random key has at least: 32 random bytes have fewer less than once in 10^15."""
_STANDARD_ALPHABET: Final = str.maketrans("-_", "+/")
_TEXT: Final = frozenset(range(0x20, 0x7F))


class KeyState(StrEnum):
    """State of a key, by which it may be used.

    Attributes:
        ACTIVE: It encrypts and decrypts.
        DECRYPT_ONLY: It decrypts what it has encrypted before.
        DESTROYED: Its bytes are gone, and so is what it has encrypted.
    """

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DESTROYED = "destroyed"


def decode_key(text: str) -> bytes:
    """Decodes a key that is written in base64, of either alphabet, with or without its padding; empty where it is none.

    Args:
        text: The text.
    """
    plain = text.strip().translate(_STANDARD_ALPHABET)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        return b""


def is_weak(key: bytes) -> bool:
    """Tells whether a key has another length, or was typed or counted rather than drawn at random.

    Args:
        key: Its bytes.
    """
    if len(key) != KEY_BYTES or len(set(key)) < FEWEST_DISTINCT or _TEXT.issuperset(key):
        return True
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    return len(steps) == 1
