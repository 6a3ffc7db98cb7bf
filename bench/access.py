"""Cost of authentication and authorization: a route with its guard beside the same route without."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from statistics import median, quantiles
from typing import Self
from uuid import uuid4

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.guarded_gateway import ALLOWED, OPEN, STATEMENTS
from bench.stack import GATEWAY_SECRET, BenchStack, Say
from taskforce.application.access.policy_documents import save_document
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor, resolve_principal
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.tenants.tenant import TenantSettings
from taskforce.core.interfaces.identity import Identity
from taskforce.infrastructure.config.settings import Settings

USER = "alice"
ROLES = ("admin", "operator")
TENANTS = ("plain", "rate limit", "policy")
_RATE = TenantSettings(requests_per_minute=1_000_000)
_RULE = {
    "id": "nobody-from-elsewhere",
    "effect": "deny",
    "actions": ["agent:*"],
    "resources": [{"type": "agent", "ids": ["secret-agent"]}],
    "when": [{"attribute": "context.channel", "equals": "api"}],
}
_POLICY = {"version": 1, "rules": [{**_RULE, "id": f"rule-{number}"} for number in range(20)]}


@dataclass(frozen=True, slots=True)
class AccessRow:
    """Holds the measurements of one kind of credential, in one kind of tenant.

    Attributes:
        credential: The kind of credential.
        tenant: The kind of tenant.
        open_p50_ms, p50_ms: Median milliseconds of the route without its guard, and with it.
        open_p99_ms, p99_ms: The same at the 99th percentile.
        statements: Round trips to PostgreSQL of a request with the guard.
    """

    credential: str
    tenant: str
    open_p50_ms: float
    p50_ms: float
    open_p99_ms: float
    p99_ms: float
    statements: float

    @property
    def added_ms(self) -> float:
        """Returns the milliseconds that the guard adds at the median."""
        return self.p50_ms - self.open_p50_ms

    @property
    def ratio(self) -> float:
        """Returns the median with the guard over that without."""
        return self.p50_ms / self.open_p50_ms


@dataclass(slots=True)
class _Taken:
    """Holds milliseconds of requests without the guard and with it, and the statements that the latter sent."""

    without: list[float] = field(default_factory=list)
    guarded: list[float] = field(default_factory=list)
    statements: int = 0


async def measure_access(stack: BenchStack, rounds: int, requests: int, say: Say) -> list[AccessRow]:
    """Measures one gateway, over one connection, with the guarded and the open route in turns.

    Args:
        stack: The running stack; no worker is needed.
        rounds: How often all kinds take turns, every other time in the opposite order.
        requests: Pairs of requests of a kind in a round.
        say: Receives progress messages.
    """
    signing = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    more = {"JWT_PUBLIC_KEY": _pem(signing.public_key()), "JWT_SECRET": GATEWAY_SECRET}
    say("starting a gateway that has one route with and without its guard")
    async with stack.gateway("-m", "bench.guarded_gateway", more=more, sign="/health") as url:
        asked = await _requests(stack, signing)
        found = {kind: _Taken() for kind in asked}
        async with _Client.connected(url) as client:
            for kind, request in asked.items():
                await _pairs(client, request, 30, _Taken())
                say(f"warmed up: {', '.join(kind)}")
            for number in range(rounds):
                say(f"with and without the guard, round {number + 1} of {rounds}")
                for kind in list(asked) if number % 2 == 0 else list(asked)[::-1]:
                    await _pairs(client, asked[kind], requests, found[kind])
    return [_row(kind, taken) for kind, taken in found.items()]


async def _pairs(client: "_Client", request: bytes, count: int, into: _Taken) -> None:
    without, asking = _request(OPEN), _request(STATEMENTS)
    before = int(await client.ask(asking))
    for number in range(count):
        # The order alternates, so that neither always follows the other.
        for guarded in (True, False) if number % 2 else (False, True):
            began = time.perf_counter()
            await client.ask(request if guarded else without)
            spent = (time.perf_counter() - began) * 1_000
            (into.guarded if guarded else into.without).append(spent)
    into.statements += int(await client.ask(asking)) - before


def _row(kind: tuple[str, str], taken: _Taken) -> AccessRow:
    return AccessRow(
        credential=kind[0],
        tenant=kind[1],
        open_p50_ms=median(taken.without),
        p50_ms=median(taken.guarded),
        open_p99_ms=quantiles(taken.without, n=100, method="inclusive")[98],
        p99_ms=quantiles(taken.guarded, n=100, method="inclusive")[98],
        statements=taken.statements / len(taken.guarded),
    )


async def _requests(stack: BenchStack, signing: rsa.RSAPrivateKey) -> dict[tuple[str, str], bytes]:
    """Returns a request of each credential in each tenant."""
    tenants = {name: await _tenant(stack, name) for name in TENANTS}
    signers: Mapping[str, Callable[[bytes], bytes]] = {
        "HS256": lambda message: hmac.digest(GATEWAY_SECRET.encode(), message, "sha256"),
        "RS256": lambda message: signing.sign(message, padding.PKCS1v15(), hashes.SHA256()),
    }
    found: dict[tuple[str, str], bytes] = {}
    for credential, (name, (tenant_id, key)) in product((*signers, "API key"), tenants.items()):
        bearer = key if credential == "API key" else _token(tenant_id, credential, signers[credential])
        found[credential, name] = _request(ALLOWED, bearer)
    return found


async def _tenant(stack: BenchStack, name: str) -> tuple[str, str]:
    """Creates a tenant with a user; returns its id and an API key of the user."""
    now, rules, tenant_id = datetime.now(UTC), AccessRules(), f"bench-{name.replace(' ', '-')}-{uuid4().hex[:8]}"
    # The record equals what the tokens claim, so that no request has to update it.
    claimed = Identity(
        user_id=USER,
        tenant_id=tenant_id,
        username=USER,
        email=None,
        roles=frozenset(ROLES),
        issuer="bench",
        issued_at=now,
        expires_at=now,
    )
    actor = Actor(await resolve_principal(stack.database, stack.database, claimed, rules, now), rules, None, now)
    if name == "policy":
        await save_document(stack.database, actor, _POLICY)
    if name == "rate limit":
        async with stack.database.tenant(tenant_id) as records:
            tenant = await records.tenant.locked()
            assert tenant is not None
            await records.tenant.save(tenant.changed(now, by_operator=True, settings=_RATE))
    issued = await issue_key(stack.database, actor, NewKey(None, "bench", frozenset(ROLES)))
    return tenant_id, issued.plaintext


def _token(tenant_id: str, algorithm: str, sign: Callable[[bytes], bytes]) -> str:
    defaults = {name: str(Settings.model_fields[f"jwt_{name}"].default) for name in ("issuer", "audience")}
    now = int(datetime.now(UTC).timestamp())
    claims = {"sub": USER, "org_id": tenant_id, "roles": list(ROLES), "preferred_username": USER}
    times = {"iss": defaults["issuer"], "aud": defaults["audience"], "iat": now, "exp": now + 3_600}
    signed = f"{_segment({'alg': algorithm, 'typ': 'JWT'})}.{_segment({**claims, **times})}"
    return f"{signed}.{_base64url(sign(signed.encode()))}"


def _segment(content: Mapping[str, object]) -> str:
    return _base64url(json.dumps(content).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pem(key: rsa.RSAPublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def _request(path: str, bearer: str | None = None) -> bytes:
    credential = f"authorization: Bearer {bearer}\r\n" if bearer else ""
    return f"GET {path} HTTP/1.1\r\nhost: bench\r\n{credential}\r\n".encode()


class _Client:
    """Holds one keep-alive connection; an HTTP library would take longer than what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator[Self]:
        """Opens a connection; closes it when the block ends."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    async def ask(self, request: bytes) -> bytes:
        """Sends a request and returns the body of its response, which must be 200."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, _, fields = head.partition("\r\n")
        length = next(line.partition(":")[2] for line in fields.split("\r\n") if line.startswith("content-length:"))
        body = await self._reader.readexactly(int(length))
        if " 200 " not in f"{status} ":
            raise RuntimeError(f"{status}: {body.decode()}")
        return body
