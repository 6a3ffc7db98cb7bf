"""A master key is drawn at random."""

import os

import pytest

from taskforce.core.domain.encryption.keys import is_weak


def test_random_keys_are_taken() -> None:
    assert not any(is_weak(os.urandom(32)) for _ in range(2_000))


RANDOM = bytes.fromhex("8f0e1d5a2b3c4d6e7f9081a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6")
WEAK = {
    "empty": b"",
    "short": RANDOM[:31],
    "long": RANDOM + b"x",
    "zeros": bytes(32),
    "ones": b"\xff" * 32,
    "repeated": RANDOM[:8] * 4,
    "counted": bytes(range(32)),
    "counted back": bytes(range(255, 223, -1)),
    "counted by seven": bytes((7 * number) % 256 for number in range(32)),
    "a sentence": b"correct horse battery staple 123",
    "hexadecimal digits": RANDOM[:16].hex().encode(),
}


@pytest.mark.parametrize("key", WEAK.values(), ids=WEAK)
def test_typed_and_counted_ones_are_weak(key: bytes) -> None:
    assert is_weak(key)
    assert not is_weak(RANDOM)
