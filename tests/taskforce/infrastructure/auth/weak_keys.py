"""RSA keys with ROCA's pattern."""

import functools
import random
from math import prod

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
