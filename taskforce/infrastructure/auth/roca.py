"""Detection of RSA moduli whose keys can be factored (ROCA, CVE-2017-15361).

Its primes are `k * M + (65537**a mod M)`, where M is the product of the first primes, so that the modulus too is a
power of 65537 modulo M (Nemec, Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack, CCS 2017, section 2).
Whether a number is one is decided quickly, for its discrete logarithm exists modulo M if it exists modulo each prime of
M
and the logarithms agree. For keys of 2,048 bits M is larger; the primes used here divide it.
"""

from math import gcd
from typing import Final

_GENERATOR: Final = 65537
_PRIMES: Final = tuple(number for number in range(3, 168) if all(number % divisor for divisor in range(2, number)))


def _logarithms(prime: int) -> dict[int, int]:
    """Returns the discrete logarithms of all powers of the generator, by the power."""
    found: dict[int, int] = {}
    power = 1
    while power not in found:
        found[power] = len(found)
        power = power * _GENERATOR % prime
    return found


_LOGARITHMS: Final = {prime: _logarithms(prime) for prime in _PRIMES}


def has_roca_fingerprint(modulus: int) -> bool:
    """Returns whether an RSA modulus is a power of 65537 modulo the product of the primes from 3 to 167.

    Of other moduli fewer than one in 200 million even are one modulo each of these primes.

    Args:
        modulus: The modulus, public.
    """
    exponent, order = 0, 1
    for prime, logarithms in _LOGARITHMS.items():
        here = logarithms.get(modulus % prime)
        if here is None:
            return False
        merged = _merged(exponent, order, here, len(logarithms))
        if merged is None:
            return False
        exponent, order = merged
    return True


def _merged(one: int, modulo: int, other: int, other_modulo: int) -> tuple[int, int] | None:
    """Returns the number that is `one` modulo `modulo` and `other` modulo `other_modulo`, or None without one."""
    common = gcd(modulo, other_modulo)
    if (other - one) % common:
        return None
    part = other_modulo // common
    steps = (other - one) // common * pow(modulo // common, -1, part) % part
    return one + modulo * steps, modulo * part
