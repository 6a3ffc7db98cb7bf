"""Whatever is malformed gets a problem document with a stable code, never a 500."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
import structlog

from api.web.middleware import MAX_BODY
from tests.api.gateway import Gateway, assert_problem, execute

EXECUTE = "/api/v1/agents/execute"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"mission": "\xff"}',
        b'{"mission": "a\\u0000b"}',
        b'{"mission": "\\ud800"}',
        b'{"mission": "x", "context": {"\\ud800": 1}}',
        b'{"mission": "x", "context": {"a": NaN}}',
        b'{"mission": "x", "context": {"a": -Infinity}}',
        b'{"mission": "x", "context": {"a": 1e999}}',
        b'{"mission": "x", "max_steps": ' + b"9" * 5_000 + b"}",
        b'{"mission": "x", "context": {"a": 9223372036854775808}}',
        b'{"mission": "x", "mission": "y"}',
        b'{"mission": "x", "context": ' + b'{"a":' * 60 + b"1" + b"}" * 61,
        b"[" * 100_000,
        b"\xef\xbb\xbf{}",
        b"nonsense",
    ],
)
async def test_a_body_that_is_not_the_json_that_we_accept(operator: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await operator.post(EXECUTE, content=body, headers=JSON), 422, "json_invalid")


async def test_a_text_may_hold_any_other_character(operator: httpx.AsyncClient) -> None:
    mission = "\U0001f44b \u2028 \x01 \u202e \ufffe \\u0000 '; DROP TABLE runs; --"
    accepted = await execute(operator, mission, context={"\U0001f600": [None, 1.5, -(2**63) + 1, {"": "\x7f"}]})
    run = (await operator.get(accepted["links"]["self"])).json()
    assert run["mission"] == mission
    assert run["context"] == {"\U0001f600": [None, 1.5, -(2**63) + 1, {"": "\x7f"}]}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""])
async def test_a_body_must_be_json_by_its_header(operator: httpx.AsyncClient, kind: str) -> None:
    answer = await operator.post(EXECUTE, content=b'{"mission": "x"}', headers={"content-type": kind})
    assert_problem(answer, 415, "content_type_unsupported")


async def test_a_body_without_a_content_type(operator: httpx.AsyncClient) -> None:
    assert_problem(await operator.post(EXECUTE, content=b'{"mission": "x"}'), 415, "content_type_unsupported")
    assert_problem(await operator.post(EXECUTE), 422, "request_invalid")


async def test_a_body_has_a_limit_whether_it_is_announced_or_not(operator: httpx.AsyncClient) -> None:
    whole = b'"' + b"x" * MAX_BODY + b'"'
    assert_problem(await operator.post(EXECUTE, content=whole, headers=JSON), 413, "body_too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield whole[: MAX_BODY // 2 + 1]

    assert_problem(await operator.post(EXECUTE, content=pieces(), headers=JSON), 413, "body_too_large")


async def test_paths_and_methods_that_do_not_exist(operator: httpx.AsyncClient) -> None:
    assert_problem(await operator.get("/"), 404, "route_not_found")
    assert_problem(await operator.get("/api/v1/runs/"), 404, "route_not_found")
    wrong = await operator.delete(EXECUTE)
    assert_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize("run_id", ["x", "%00", "%ff", "0" * 36, "{" + "0" * 34 + "}", "\u0661" * 36, "a" * 5_000])
async def test_ids_that_cannot_exist(operator: httpx.AsyncClient, run_id: str) -> None:
    assert_problem(await operator.get(f"/api/v1/runs/{run_id}"), 404, "run_not_found")
    assert_problem(await operator.get(f"/api/v1/admin/requests/{run_id}"), 404, "request_not_found")


@pytest.mark.parametrize("path", ["%00", "..%2f..%2fetc%2fpasswd", "%ff", "a//b", "x" * 700, "%E2%80%AE"])
async def test_files_that_cannot_exist(operator: httpx.AsyncClient, path: str) -> None:
    run = (await execute(operator))["links"]["self"]
    assert_problem(await operator.get(f"{run}/files/{path}"), 404, "file_not_found")


@pytest.mark.parametrize("place", ["0/0", "1/1", "2147483647/2147483647"])
async def test_results_that_do_not_exist(operator: httpx.AsyncClient, place: str) -> None:
    run = (await execute(operator))["links"]["self"]
    assert_problem(await operator.get(f"{run}/results/{place}"), 404, "result_not_found")


@pytest.mark.parametrize("place", ["x/1", "-1/1", "2147483648/1", f"{'9' * 5_000}/1"])
async def test_results_that_cannot_exist(operator: httpx.AsyncClient, place: str) -> None:
    run = (await execute(operator))["links"]["self"]
    assert_problem(await operator.get(f"{run}/results/{place}"), 422, "request_invalid")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", f"limit={'9' * 5_000}", "status=unheard", "mine=perhaps", "session_id=%00",
     "agent_id=%ff", "session_id=", f"cursor={'x' * 2_001}"],
)  # fmt: skip
async def test_queries_that_do_not_fit(operator: httpx.AsyncClient, query: str) -> None:
    problem = assert_problem(await operator.get(f"/api/v1/runs?{query}"), 422, "request_invalid")
    assert problem["errors"][0]["field"] == f"query.{query.partition('=')[0]}"


@pytest.mark.parametrize("cursor", ["", "x", "%00", "AAAA", "MjAyNi0wMS0wMXx4", "c3RlcHwx", "%F0%9F%98%80", "===="])
async def test_cursors_that_are_none(operator: httpx.AsyncClient, cursor: str) -> None:
    assert_problem(await operator.get(f"/api/v1/runs?cursor={cursor}"), 422, "cursor_invalid")
    assert_problem(await operator.get(f"/api/v1/admin/requests/pending?cursor={cursor}"), 422, "cursor_invalid")
    if cursor != "c3RlcHwx":
        assert_problem(await operator.get(f"/api/v1/runs/{uuid4()}/steps?cursor={cursor}"), 422, "cursor_invalid")


@pytest.mark.parametrize("given", ["abc-123", "A.b_c"])
async def test_a_request_id_comes_back(operator: httpx.AsyncClient, given: str) -> None:
    assert (await operator.get("/health", headers={"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a\u00e9"])
async def test_a_request_id_that_is_none_is_replaced(operator: httpx.AsyncClient, given: str) -> None:
    answer = await operator.get("/health", headers={b"x-request-id": given.encode()})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 36


async def test_every_answer_forbids_sniffing_framing_and_caching(operator: httpx.AsyncClient) -> None:
    for path in ("/health", "/api/v1/me", "/nowhere"):
        headers = (await operator.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


async def test_what_nobody_expected_is_a_500_without_a_word_about_it(
    gateway: Gateway, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the secret plan")

    monkeypatch.setattr("api.routes.me.MeOut", fail)
    with structlog.testing.capture_logs() as logs:
        answer = await operator.get("/api/v1/me")
    assert_problem(answer, 500, "internal_error")
    assert [line["event"] for line in logs] == ["http.failed", "http.request"]
    assert "secret plan" not in answer.text


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(
    gateway: Gateway, operator: httpx.AsyncClient
) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/v1/agents/execute HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await operator.get("/health")).status_code == 200
