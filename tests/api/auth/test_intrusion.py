"""Somebody tries to get in, or to learn something, by odd paths, methods, headers and credentials."""

import asyncio

import httpx
import pytest

from tests.api.auth.foreign_ids import GRANT, body_of, filled, seen
from tests.api.gateway import ClientFor, Gateway, assert_problem

ME = "/api/v1/me"
KEYS = "/api/v1/admin/api-keys"
ODD = (
    "%00", "a%00b", "%ff", "%ed%a0%80", "%1b%5b31m", "%E2%80%AE", "%F0%9F%98%80",
    "'%20OR%201=1--", "%5c'", "%25s%25n", "$%7bjndi:x%7d", "%7b%7b7*7%7d%7d", "x" * 3_000, "%20", "*",
)  # fmt: skip
IDS = ("run_id", "request_id", "tenant_id", "user_id", "role_id", "key_id")


async def answer(client: httpx.AsyncClient, path: str, method: str, odd: str | None) -> httpx.Response:
    """To a request about an id that is odd, or, without one, does not exist."""
    last = path.rpartition("/")[2]
    here = filled(path, {} if odd is None else dict.fromkeys(IDS, odd))
    body = body_of(path) if method in {"post", "put"} else None
    query = GRANT if (method, last) == ("delete", "grants") else {}
    return await client.request(method, here, json=body, params=query)


@pytest.mark.parametrize("operator_of_the_platform", [False, True])
async def test_an_odd_id_is_answered_like_a_missing_one(
    gateway: Gateway, client_for: ClientFor, tenant: str, *, operator_of_the_platform: bool
) -> None:
    client = client_for("platform" if operator_of_the_platform else tenant, "eve", ["admin", "operator"])
    met = 0
    for path, operations in gateway.app.openapi()["paths"].items():
        if "_id}" not in path:
            continue
        for method in operations:
            missing = await answer(client, path, method, None)
            assert missing.status_code == 404, (method, path, missing.text)
            for odd in ODD:
                found = await answer(client, path, method, odd)
                assert seen(found) == seen(missing), (method, path, odd, found.text)
            met += 1
    assert met >= 20


async def test_a_line_break_in_an_id_ends_no_line(gateway: Gateway, client_for: ClientFor, tenant: str) -> None:
    client = client_for(tenant, "eve", ["admin", "operator"])
    for path, operations in gateway.app.openapi()["paths"].items():
        for method in operations if "_id}" in path else ():
            found = await answer(client, path, method, "%0d%0aset-cookie:%20a=b")
            assert found.status_code == 404, (method, path, found.text)
            assert found.headers["content-type"] == "application/problem+json"
            assert "set-cookie" not in found.headers


async def test_methods_that_a_route_does_not_have(gateway: Gateway, client_for: ClientFor, tenant: str) -> None:
    """HEAD too: an answer without its body would still say what is there."""
    client = client_for(tenant, "eve", ["admin"])
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as nobody:
        for path, operations in gateway.app.openapi()["paths"].items():
            for method in {"HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "GETT"} - set(operations):
                for who in (client, nobody):
                    found = await who.request(method, filled(path, {}))
                    assert found.status_code in {400, 405}, (method, path, found.text)
                    assert "access-control-allow-origin" not in found.headers


@pytest.mark.parametrize("path", ["/", "//", "/./", "/%2e", ";a=b", "/%20", ".json", "?x=%00", "%00"])
async def test_what_stands_around_a_path_opens_nothing(gateway: Gateway, path: str) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as nobody:
        for route in ("/api/v1/runs", "/api/v1/admin/users", "/v1/admin/tenants"):
            assert (await nobody.get(f"{route}{path}")).status_code in {401, 404}


async def test_more_than_one_credential_is_none(
    gateway: Gateway, client_for: ClientFor, operator: httpx.AsyncClient, tenant: str
) -> None:
    """Whatever stands before the gateway must not let in one and have another be believed."""
    admin = client_for(tenant, "ada", ["admin"])
    issued = await admin.post(KEYS, json={"name": "mine", "roles": ["admin"]})
    key, token = issued.json()["api_key"], operator.headers["authorization"]
    stranger = f"Bearer {gateway.token(f'{tenant}-b', 'eve', ['admin'])}"
    pairs: list[list[tuple[str, str]]] = [
        [("authorization", token), ("authorization", stranger)],
        [("authorization", token), ("authorization", token)],
        [("authorization", token), ("Authorization", "Basic eDp5")],
        [("authorization", token), ("x-api-key", key)],
        [("authorization", "Bearer x"), ("x-api-key", key)],
        [("authorization", f"Bearer {key}"), ("x-api-key", key)],
        [("x-api-key", key), ("x-api-key", "tf_none")],
    ]
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        for headers in pairs:
            assert_problem(await client.get(ME, headers=headers), 401, "credentials_ambiguous")
        # A proxy's own password for the way here is no credential of ours.
        basic = [("authorization", "Basic eDp5"), ("x-api-key", key)]
        assert (await client.get(ME, headers=basic)).json()["user_id"] == "ada"


async def test_headers_that_are_too_large_or_malformed_harm_nobody(
    gateway: Gateway, operator: httpx.AsyncClient
) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    hostile = (
        b"GET /api/v1/me HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /api/v1/me HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"GET /api/v1/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\n b\r\n\r\n",
        b"GET /api/v1/me HTTP/1.1\r\nhost: x\r\nauthorization : Bearer a\r\n\r\n",
        b"GET /api/v1/me HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /api/v1/me HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"GET /api/v1/me\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    )
    for request in hostile:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        writer.write_eof()
        try:
            said = await asyncio.wait_for(reader.read(), 60)
        except ConnectionResetError:
            said = b""
        writer.close()
        status = said.split(b" ", 2)[1] if said.startswith(b"HTTP/1.1 ") else b"400"
        assert status in {b"400", b"401", b"431"}, (request[:80], said[:300])
    assert (await operator.get("/health")).is_success
