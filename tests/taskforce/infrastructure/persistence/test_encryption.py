"""Encryption with a key for each tenant, as the guide shows it (5.2)."""

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskforce.core.domain.encryption.keys import KeyState
from taskforce.core.domain.errors import DomainError
from taskforce.infrastructure.persistence.encryption import DataEncryptor, EncryptedStateManager, KeyManager
from taskforce.infrastructure.persistence.file_state_manager import FileStateManager

MASTER = bytes.fromhex("8f0e1d5a2b3c4d6e7f9081a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6")
GUIDE = """
from taskforce.infrastructure.persistence.encryption import (
    DataEncryptor,
    KeyManager,
    EncryptionKey
)

# Initialize encryption with master key from environment
key_manager = KeyManager(
    master_key_env="TASKFORCE_ENCRYPTION_KEY"
)

encryptor = DataEncryptor(key_manager)

# Encrypt sensitive data
sensitive_data = {
    "user_query": "What is my account balance?",
    "tool_results": {"balance": 12345.67},
    "pii_detected": True
}

encrypted = encryptor.encrypt_json(
    data=sensitive_data,
    tenant_id="acme-corp",
    algorithm="fernet"  # or "aes-gcm" for AEAD
)

print(f"Encrypted length: {len(encrypted)} bytes")
# Output includes: key_id:algorithm:ciphertext

# Decrypt when needed
decrypted = encryptor.decrypt_json(
    encrypted_data=encrypted,
    tenant_id="acme-corp"
)
print(f"Decrypted: {decrypted}")
"""
GUIDE_KEYS = """
# Each tenant gets a derived key from the master key
tenant_key = key_manager.get_or_create_tenant_key("acme-corp")

print(f"Key ID: {tenant_key.key_id}")        # tenant:acme-corp:v1
print(f"Algorithm: {tenant_key.algorithm}")   # fernet
print(f"Version: {tenant_key.version}")       # 1

# Key rotation (for compliance or after suspected compromise)
new_key = key_manager.rotate_tenant_key("acme-corp")
print(f"New Key ID: {new_key.key_id}")        # tenant:acme-corp:v2
print(f"New Version: {new_key.version}")      # 2
"""


def encryptor(master: bytes = MASTER) -> DataEncryptor:
    return DataEncryptor(KeyManager(master_key=master))


def code(work: Any, *given: Any, **named: Any) -> str:
    with pytest.raises(DomainError) as refused:
        work(*given, **named)
    return refused.value.code


def test_the_guides_example_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKFORCE_ENCRYPTION_KEY", base64.b64encode(MASTER).decode())
    names: dict[str, Any] = {}
    exec(GUIDE + GUIDE_KEYS, names)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"Encrypted length: {len(names['encrypted'])} bytes",
        f"Decrypted: {names['sensitive_data']}",
        *("Key ID: tenant:acme-corp:v1", "Algorithm: fernet", "Version: 1"),
        *("New Key ID: tenant:acme-corp:v2", "New Version: 2"),
    ]
    assert names["encrypted"].startswith(b"tenant:acme-corp:v1:fernet:")


@pytest.mark.parametrize("algorithm", ["fernet", "aes-gcm"])
def test_what_is_encrypted_opens_in_another_process_for_its_tenant_and_place_alone(algorithm: str) -> None:
    data = os.urandom(5_000)
    sealed = encryptor().encrypt(data, "acme", algorithm, associated=b"runs/1")
    assert sealed.startswith(f"tenant:acme:v1:{algorithm}:".encode())
    assert encryptor().decrypt(sealed, "acme", associated=b"runs/1") == data
    assert code(encryptor().decrypt, sealed, "acme", associated=b"runs/2") == "encryption_key_wrong"
    assert code(encryptor().decrypt, sealed, "globex", associated=b"runs/1") == "encryption_key_wrong"
    renamed = sealed.replace(b"tenant:acme:", b"tenant:globex:", 1)
    assert code(encryptor().decrypt, renamed, "globex", associated=b"runs/1") == "encryption_key_wrong"
    assert code(encryptor(MASTER[::-1]).decrypt, sealed, "acme", associated=b"runs/1") == "encryption_key_wrong"
    assert code(encryptor().decrypt, sealed[:-1], "acme", associated=b"runs/1") == "encryption_key_wrong"
    assert code(encryptor().decrypt, sealed[:15], "acme") == "envelope_invalid"


def test_old_values_open_after_a_rotation_and_new_ones_in_processes_that_know_of_none() -> None:
    keys = KeyManager(master_key=MASTER)
    old = DataEncryptor(keys).encrypt(b"old", "acme")
    assert keys.rotate_tenant_key("acme").key_id == "tenant:acme:v2"
    new = DataEncryptor(keys).encrypt(b"new", "acme")
    assert new.startswith(b"tenant:acme:v2:")
    assert [DataEncryptor(keys).decrypt(one, "acme") for one in (old, new)] == [b"old", b"new"]
    assert encryptor().decrypt(new, "acme") == b"new"
    states = [keys.get_tenant_key("acme", version).state for version in (1, 2)]
    assert states == [KeyState.DECRYPT_ONLY, KeyState.ACTIVE]
    assert DataEncryptor(keys).encrypt(b"x", "globex").startswith(b"tenant:globex:v1:")


def test_a_destroyed_key_opens_nothing_and_the_next_one_goes_on() -> None:
    keys = KeyManager(master_key=MASTER)
    old = DataEncryptor(keys).encrypt(b"old", "acme")
    assert keys.destroy_tenant_key("acme", 1).state is KeyState.DESTROYED
    assert code(DataEncryptor(keys).decrypt, old, "acme") == "key_destroyed"
    assert code(DataEncryptor(keys).encrypt, b"new", "acme") == "key_destroyed"
    keys.rotate_tenant_key("acme")
    assert DataEncryptor(keys).decrypt(DataEncryptor(keys).encrypt(b"new", "acme"), "acme") == b"new"


def test_a_key_shows_nothing_of_itself() -> None:
    key = KeyManager(master_key=MASTER).get_or_create_tenant_key("acme")
    assert repr(key) == (
        "EncryptionKey(tenant_id='acme', version=1, algorithm='fernet', state=<KeyState.ACTIVE: 'active'>)"
    )


def test_bad_input_is_refused_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (
        (None, "encryption_key_missing"),
        (" ", "encryption_key_missing"),
        ("not base64!", "encryption_key_weak"),
        (base64.b64encode(bytes(32)).decode(), "encryption_key_weak"),
    ):
        monkeypatch.delenv("KEY_OF_TEST", raising=False)
        if value is not None:
            monkeypatch.setenv("KEY_OF_TEST", value)
        assert code(KeyManager, "KEY_OF_TEST") == expected
    assert code(KeyManager, master_key=MASTER, algorithm="rot13") == "algorithm_unknown"
    assert code(encryptor().encrypt, b"", "acme", "rot13") == "algorithm_unknown"
    assert code(encryptor().encrypt, b"", "../acme") == "tenant_id_invalid"
    assert code(encryptor().encrypt_json, {1, 2}, "acme") == "json_invalid"
    assert code(encryptor().encrypt_json, float("nan"), "acme") == "json_invalid"
    assert code(encryptor().decrypt_json, encryptor().encrypt(b"{", "acme"), "acme") == "json_invalid"
    assert code(KeyManager(master_key=MASTER).get_tenant_key, "acme", 0) == "key_unknown"


def test_threads_rotate_one_after_the_other() -> None:
    keys = KeyManager(master_key=MASTER)
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: keys.rotate_tenant_key("acme").version, range(100)))
    assert sorted(versions) == list(range(2, 102))


async def test_state_is_encrypted_at_rest_and_old_state_in_clear_is_still_read(tmp_path: Any) -> None:
    files = FileStateManager(work_dir=tmp_path)
    kept = EncryptedStateManager(base_manager=files, encryptor=encryptor(), tenant_id="acme-corp")
    state = {"mission": "Handle sensitive data", "pii": {"ssn": "XXX-XX-1234"}}
    await kept.save_state("session-123", state)
    assert await kept.load_state("session-123") == state
    assert await kept.load_state("session-124") is None
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.json"))
    assert b"sensitive" not in written
    assert b"XXX" not in written
    await files.save_state("old", state)
    assert await kept.load_state("old") == state
