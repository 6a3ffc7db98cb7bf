"""A master key is drawn at random."""

import os

import pytest

from taskforce.core.domain.encryption.keys import is_weak


def test_random_keys_are_taken() -> None:
    assert not any(is_weak(os.urandom(32)) for _ in range(2_000))


@pytest.mark.parametrize(
    "key",
    [
        *(b"", bytes(31), bytes(32), b"\xff" * 32, os.urandom(31), os.urandom(33)),
        *(bytes(range(32)), bytes(range(255, 223, -1)), bytes((7 * number) % 256 for number in range(32))),
        *(b"correct horse battery staple 123", os.urandom(16).hex().encode(), os.urandom(8) * 4),
    ],
)
def test_typed_and_counted_ones_are_weak(key: bytes) -> None:
    assert is_weak(key)
