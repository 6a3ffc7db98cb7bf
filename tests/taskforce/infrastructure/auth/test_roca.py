"""Keys as the library of CVE-2017-15361 made them, and keys as others do."""

import random
from math import prod

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.jwt_keys import public_key
from taskforce.infrastructure.auth.roca import has_roca_fingerprint
from tests.taskforce.infrastructure.auth.forged_tokens import RSA_KEY, number
from tests.taskforce.infrastructure.auth.weak_keys import PRIMES, weak_modulus


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
