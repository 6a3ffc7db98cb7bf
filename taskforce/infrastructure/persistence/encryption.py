"""Encryption of data at rest with a key for each tenant, for programs that embed the library (guide 5.2)."""

import json
import os
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

from taskforce.core.domain.encryption.envelopes import MAX_VERSION, Algorithm, EnvelopeHeader, key_id
from taskforce.core.domain.encryption.keys import KEY_BYTES, KeyState, decode_key, is_weak
from taskforce.core.domain.errors import Conflict, Invalid, Unavailable
from taskforce.core.interfaces.identity import checked_tenant_id
from taskforce.infrastructure.keys.ciphers import RefusedError, TenantCipher
from taskforce.infrastructure.keys.derivation import derived_key
from taskforce.infrastructure.persistence.column_encryption import VARIABLE

_CACHED_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A version of a tenant's key.

    Attributes:
        tenant_id: The tenant.
        version: The version, from 1.
        algorithm: The cipher by which it encrypts where none is asked for.
        state: What it may be used for.
        cipher: Encrypts and decrypts; None once the key is destroyed.
    """

    tenant_id: str
    version: int
    algorithm: str
    state: KeyState = KeyState.ACTIVE
    cipher: TenantCipher | None = field(default=None, repr=False, compare=False)

    @property
    def key_id(self) -> str:
        """Returns its id, for example `tenant:acme-corp:v1`."""
        return key_id(self.tenant_id, self.version)

    def usable(self) -> TenantCipher:
        """Returns its cipher.

        Raises:
            Conflict: `key_destroyed`.
        """
        if self.cipher is None:
            raise Conflict("key_destroyed", f"The key {self.key_id} is destroyed, and what it has encrypted with it.")
        return self.cipher


class KeyManager:
    """Derives a key for each tenant and version from the master key, and knows what each may be used for.

    All objects with the same master key have the same keys. That a key was rotated or destroyed is known to the one
    object: another finds a newer version when it decrypts by it.

    Args:
        master_key_env: The environment variable with the master key: 32 random bytes in base64.
        master_key: The master key itself, instead of the variable.
        algorithm: The cipher by which keys encrypt where none is asked for, `fernet` or `aes-gcm`.

    Raises:
        Unavailable: `encryption_key_missing`.
        Invalid: `encryption_key_weak`; `algorithm_unknown`.
    """

    def __init__(
        self,
        master_key_env: str = VARIABLE,
        *,
        master_key: bytes | None = None,
        algorithm: str = Algorithm.FERNET.value,
    ) -> None:
        self._master = _from_environment(master_key_env) if master_key is None else master_key
        if is_weak(self._master):
            text = f"A master key is {KEY_BYTES} random bytes in base64; make one with: openssl rand -base64 32"
            raise Invalid("encryption_key_weak", text)
        self._algorithm = parse_algorithm(algorithm).value
        self._newest: dict[str, int] = {}
        self._destroyed: set[tuple[str, int]] = set()
        self._cipher = lru_cache(_CACHED_KEYS)(self._derived)
        self._lock = threading.Lock()

    def get_or_create_tenant_key(self, tenant_id: str) -> EncryptionKey:
        """Returns the key by which a tenant's data is encrypted now.

        Args:
            tenant_id: The tenant.

        Raises:
            Invalid: `tenant_id_invalid`.
            Conflict: `key_destroyed`.
        """
        with self._lock:
            return self._usable(tenant_id, self._newest.get(tenant_id, 1))

    def get_tenant_key(self, tenant_id: str, version: int) -> EncryptionKey:
        """Returns a version of a tenant's key; one that another object has made by rotation is found too.

        Args:
            tenant_id: The tenant.
            version: The version, from 1.

        Raises:
            Invalid: `tenant_id_invalid`; `key_unknown`.
            Conflict: `key_destroyed`.
        """
        with self._lock:
            return self._usable(tenant_id, version)

    def rotate_tenant_key(self, tenant_id: str) -> EncryptionKey:
        """Makes the next version of a tenant's key; earlier ones decrypt what they have encrypted, and nothing else.

        Args:
            tenant_id: The tenant.

        Raises:
            Invalid: `tenant_id_invalid`.
        """
        with self._lock:
            found = self._usable(tenant_id, self._newest.get(tenant_id, 1) + 1)
            self._newest[tenant_id] = found.version
            return found

    def destroy_tenant_key(self, tenant_id: str, version: int) -> EncryptionKey:
        """Destroys a version of a tenant's key in this object: what it has encrypted cannot be read by it any more.

        Args:
            tenant_id: The tenant.
            version: The version.

        Raises:
            Invalid: `tenant_id_invalid`; `key_unknown`.
        """
        with self._lock:
            _require_key(tenant_id, version)
            self._destroyed.add((tenant_id, version))
            self._cipher.cache_clear()
            return EncryptionKey(tenant_id, version, self._algorithm, KeyState.DESTROYED)

    def _usable(self, tenant_id: str, version: int) -> EncryptionKey:
        _require_key(tenant_id, version)
        if (tenant_id, version) in self._destroyed:
            text = f"The key {key_id(tenant_id, version)} is destroyed; what it has encrypted cannot be read any more."
            raise Conflict("key_destroyed", text)
        is_newest = version >= self._newest.get(tenant_id, 1)
        state = KeyState.ACTIVE if is_newest else KeyState.DECRYPT_ONLY
        return EncryptionKey(tenant_id, version, self._algorithm, state, self._cipher(key_id(tenant_id, version)))

    def _derived(self, name: str) -> TenantCipher:
        return TenantCipher(derived_key(self._master, f"taskforce/tenant-key/1/{name}"))


class TenantKeys(Protocol):
    """Keys of tenants, as an encryptor needs them; `KeyManager` fulfils it."""

    def get_or_create_tenant_key(self, tenant_id: str) -> EncryptionKey:
        """Returns the key by which a tenant's data is encrypted now."""
        ...

    def get_tenant_key(self, tenant_id: str, version: int) -> EncryptionKey:
        """Returns a version of a tenant's key."""
        ...


class DataEncryptor:
    """Encrypts values by their tenant's key, as envelopes `key_id:algorithm:ciphertext`.

    Args:
        key_manager: The keys.
    """

    def __init__(self, key_manager: TenantKeys) -> None:
        self._keys = key_manager

    def encrypt(self, data: bytes, tenant_id: str, algorithm: str | None = None, *, associated: bytes = b"") -> bytes:
        """Encrypts bytes.

        Args:
            data: What to encrypt.
            tenant_id: The tenant whose key it is encrypted by.
            algorithm: `fernet` or `aes-gcm`; by default that of the key.
            associated: What the value is bound to, for example its table and row: it opens together with that only.

        Returns:
            The envelope.

        Raises:
            Invalid: `tenant_id_invalid`; `algorithm_unknown`.
            Conflict: `key_destroyed`.
        """
        key = self._keys.get_or_create_tenant_key(tenant_id)
        by = parse_algorithm(algorithm or key.algorithm)
        header = EnvelopeHeader(tenant_id, key.version, by).render()
        return header + key.usable().encrypt(by, data, _bound(header, associated))

    def decrypt(self, encrypted_data: bytes, tenant_id: str, *, associated: bytes = b"") -> bytes:
        """Decrypts an envelope.

        Args:
            encrypted_data: The envelope.
            tenant_id: The tenant whose value it must be.
            associated: What it was bound to.

        Raises:
            Invalid: `envelope_invalid`: it is none; `tenant_id_invalid`; `key_unknown`.
            Conflict: `key_destroyed`.
            Unavailable: `encryption_key_wrong`: it belongs to another tenant or was bound to something else, was
                encrypted under another master key, or was changed or cut.
        """
        header, ciphertext = EnvelopeHeader.parse(encrypted_data)
        if header.tenant_id != tenant_id:
            raise _wrong()
        cipher = self._keys.get_tenant_key(tenant_id, header.version).usable()
        try:
            return cipher.decrypt(header.algorithm, ciphertext, _bound(header.render(), associated))
        except RefusedError:
            raise _wrong() from None

    def encrypt_json(self, data: object, tenant_id: str, algorithm: str | None = None) -> bytes:
        """Encrypts JSON data; see `encrypt`.

        Raises:
            Invalid: As `encrypt`; `json_invalid`: JSON cannot hold the data.
        """
        try:
            plain = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError):
            raise Invalid("json_invalid", "What is to be encrypted is no JSON data.") from None
        return self.encrypt(plain, tenant_id, algorithm)

    def decrypt_json(self, encrypted_data: bytes, tenant_id: str) -> Any:  # noqa: ANN401 - JSON
        """Decrypts what `encrypt_json` has encrypted; see `decrypt`.

        Raises:
            Invalid: As `decrypt`; `json_invalid`: what it holds is no JSON.
            Conflict, Unavailable: As `decrypt`.
        """
        plain = self.decrypt(encrypted_data, tenant_id)
        try:
            return json.loads(plain)
        except ValueError:
            raise Invalid("json_invalid", "What was encrypted is no JSON data.") from None


class StateManager(Protocol):
    """Keeps the state of sessions; `FileStateManager` fulfils it."""

    async def save_state(self, session_id: str, state_data: dict[str, Any]) -> object:
        """Stores the state of a session."""
        ...

    async def load_state(self, session_id: str) -> dict[str, Any] | None:
        """Returns the state of a session; None without one."""
        ...


class EncryptedStateManager:
    """Keeps the state of a tenant's sessions encrypted; what was stored in clear before is still read.

    Args:
        base_manager: Keeps what is encrypted.
        encryptor: Encrypts.
        tenant_id: The tenant.
    """

    def __init__(self, base_manager: StateManager, encryptor: DataEncryptor, tenant_id: str) -> None:
        self.base = base_manager
        self.encryptor = encryptor
        self.tenant_id = tenant_id

    async def save_state(self, session_id: str, state_data: dict[str, Any]) -> None:
        """Stores the state of a session, encrypted."""
        encrypted = self.encryptor.encrypt_json(state_data, self.tenant_id)
        await self.base.save_state(session_id, {"encrypted": encrypted.decode("latin-1")})

    async def load_state(self, session_id: str) -> dict[str, Any] | None:
        """Returns the state of a session; None without one.

        Raises:
            Invalid, Conflict, Unavailable: As `DataEncryptor.decrypt_json`.
        """
        raw = await self.base.load_state(session_id)
        if raw is None or set(raw) != {"encrypted"}:
            return raw
        found: dict[str, Any] = self.encryptor.decrypt_json(str(raw["encrypted"]).encode("latin-1"), self.tenant_id)
        return found


def parse_algorithm(name: str) -> Algorithm:
    """Returns the algorithm of a name.

    Raises:
        Invalid: `algorithm_unknown`.
    """
    try:
        return Algorithm(name)
    except ValueError:
        known = " or ".join(one.value for one in Algorithm)
        raise Invalid("algorithm_unknown", f"The algorithm is {known}.") from None


def _from_environment(variable: str) -> bytes:
    written = os.environ.get(variable, "").strip()
    if not written:
        text = f"{variable} is not set. Set it to 32 random bytes in base64 (openssl rand -base64 32)."
        raise Unavailable("encryption_key_missing", text)
    return decode_key(written)


def _bound(header: bytes, associated: bytes) -> bytes:
    # The header has no byte 0, so that no two pairs have the same bytes.
    return header + b"\x00" + associated


def _require_key(tenant_id: str, version: int) -> None:
    checked_tenant_id(tenant_id)
    if not 1 <= version <= MAX_VERSION:
        raise Invalid("key_unknown", f"Versions of keys are numbers from 1 to {MAX_VERSION}.")


def _wrong() -> Unavailable:
    text = (
        "An encrypted value cannot be opened: it belongs to another tenant or another place, it was encrypted under "
        "another master key, or it was changed."
    )
    return Unavailable("encryption_key_wrong", text)
