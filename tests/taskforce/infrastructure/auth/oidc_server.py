"""A real OpenID provider for tests: npm's oidc-provider, installed once, with a key of the test's choice."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.fixtures.npm_packages import installed
from tests.taskforce.infrastructure.auth.forged_tokens import b64, ec_jwk, number, rsa_jwk

CLIENT, SECRET = "svc-pipeline", "secret-of-the-tests-own-client"
PROGRAM = Path(__file__).with_name("oidc") / "provider.mjs"


@dataclass(frozen=True)
class OpenIdProvider:
    """A provider that runs; its `issuer` is also where it is."""

    issuer: str

    @property
    def port(self) -> int:
        return int(self.issuer.rpartition(":")[2])

    async def discovered(self, name: str) -> str:
        """What it says of itself, as clients find it."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.get(f"{self.issuer}/.well-known/openid-configuration")
        return str(answer.raise_for_status().json()[name])

    async def token(self, audience: str) -> str:
        """A token of the test's client, for an API."""
        form = {"grant_type": "client_credentials", "resource": audience}
        endpoint = await self.discovered("token_endpoint")
        async with httpx.AsyncClient(trust_env=False, auth=(CLIENT, SECRET), timeout=60) as client:
            answer = await client.post(endpoint, data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


def private_jwk(kid: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, object]:
    """A key as the provider takes it."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        secret = key.private_numbers().private_value
        return {**ec_jwk(key), "kid": kid, "alg": "ES256", "use": "sig", "d": b64(secret.to_bytes(32, "big"))}
    parts = key.private_numbers()
    values = {"d": parts.d, "p": parts.p, "q": parts.q, "dp": parts.dmp1, "dq": parts.dmq1, "qi": parts.iqmp}
    secrets = {name: number(value) for name, value in values.items()}
    return {**rsa_jwk(key), "kid": kid, "alg": "RS256", "use": "sig", **secrets}


@asynccontextmanager
async def provider(
    jwk: Mapping[str, object], claims: Mapping[str, object], *, port: int = 0, ttl: int = 600
) -> AsyncIterator[OpenIdProvider]:
    """Runs a provider that signs with this key and says this in its tokens, for `ttl` seconds each."""
    settings = {"port": port, "jwk": jwk, "client": CLIENT, "secret": SECRET, "ttl": ttl, "claims": claims}
    process = await asyncio.create_subprocess_exec(
        "node",
        str(installed(PROGRAM, "oidc-provider")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        yield OpenIdProvider(await _issuer(process))
    finally:
        process.stdin.close()
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _issuer(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            if line.startswith(b"{"):
                return str(json.loads(line)["issuer"])
    assert process.stderr is not None
    raise AssertionError((await process.stderr.read()).decode()[-2_000:])
