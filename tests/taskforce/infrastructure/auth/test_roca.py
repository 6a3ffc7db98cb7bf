"""Keys as the library of CVE-2017-15361 made them, and keys as others do."""

import functools
import random
from math import prod

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.jwt_keys import public_key
from taskforce.infrastructure.auth.roca import has_roca_fingerprint
from tests.taskforce.infrastructure.auth.forged_tokens import RSA_KEY, number

PRIMES = [at for at in range(2, 2_000) if all(at % divisor for divisor in range(2, at))]
MOST_OF = {512: 39, 1024: 71, 2048: 126, 3072: 126, 4096: 225}
"""How many primes make up M, by the bits of the modulus: table 1 of the paper."""


def is_prime(candidate: int) -> bool:
    return all(candidate % small for small in PRIMES) and all(pow(a, candidate - 1, candidate) == 1 for a in (2, 3, 5))


def weak_prime(bits: int, primes: int, chance: random.Random) -> int:
    """A prime `k * M + (65537**a mod M)`."""
    product = prod(PRIMES[:primes])
    while True:
        k = chance.getrandbits(bits - product.bit_length()) | 3 << bits - product.bit_length() - 2
        candidate = k * product + pow(65537, chance.getrandbits(256), product)
        if candidate.bit_length() == bits and is_prime(candidate):
            return candidate


@functools.cache
def weak_modulus(bits: int) -> int:
    chance = random.Random(bits)
    return weak_prime(bits // 2, MOST_OF[bits], chance) * weak_prime(bits // 2, MOST_OF[bits], chance)


@pytest.mark.parametrize("bits", [512, 1024, 2048])
def test_a_weak_key_is_recognised(bits: int) -> None:
    assert has_roca_fingerprint(weak_modulus(bits))


def test_a_weak_key_is_refused_wherever_it_comes_from() -> None:
    weak = weak_modulus(2048)
    assert weak.bit_length() == 2048
    with pytest.raises(Invalid, match="ROCA") as refusal:
        public_key({"kty": "RSA", "n": number(weak), "e": "AQAB"})
    assert refusal.value.details["reason"] == "rsa_roca"


def test_other_keys_are_not_taken_for_weak_ones() -> None:
    assert not has_roca_fingerprint(RSA_KEY.public_key().public_numbers().n)
    chance = random.Random(1)
    assert not any(has_roca_fingerprint(chance.getrandbits(2048) | 1 << 2047 | 1) for _ in range(2_000))
    for bits in (1024, 2048, 3072):
        assert not has_roca_fingerprint(rsa.generate_private_key(65537, bits).public_key().public_numbers().n)


def test_a_number_that_is_a_power_modulo_each_prime_alone_is_none_yet() -> None:
    """The logarithms must agree, too: for 7 and 13 they are both known modulo 2."""
    weak = weak_modulus(512)
    assert has_roca_fingerprint(weak)
    product, moved = prod(PRIMES[1:39]), weak
    rest = product // 13
    # Another power modulo 13, and the same modulo all other primes.
    moved += rest * pow(rest, -1, 13) * (weak % 13 * 65537 - weak) % product
    assert [moved % prime for prime in PRIMES[1:39] if prime != 13] == [
        weak % prime for prime in PRIMES[1:39] if prime != 13
    ]
    assert not has_roca_fingerprint(moved)
