"""Schemathesis walks the OpenAPI document: whatever it sends, no answer is a 5xx, and every error is a problem."""

import asyncio
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.api.gateway import ClientFor, Gateway, execute

EXAMPLES = 25
RESERVED = {"authorization", "host", "content-length", "transfer-encoding", "connection"}


async def test_no_request_that_a_schema_can_describe_breaks_the_gateway(
    gateway: Gateway, client_for: ClientFor, tenant: str
) -> None:
    client = client_for(tenant, "sam", ["admin"])
    known = (await execute(client))["run_id"]
    schema = schemathesis.openapi.from_dict(gateway.app.openapi())
    schema.config.base_url = gateway.url
    met = 0
    token = client.headers["authorization"]
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        await asyncio.to_thread(_walk, result.ok(), gateway.url, token, known)
        met += 1
    assert met >= 20


def _walk(operation: Any, url: str, token: str, known: str) -> None:
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    with httpx.Client(base_url=url, timeout=60, trust_env=False, verify=False) as client:

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=cases, real=st.booleans())
        def check(case: Any, real: bool) -> None:
            if real and "run_id" in (case.path_parameters or {}):
                case.path_parameters["run_id"] = known
            _check(case, client, token)

        check()


def _check(case: Any, client: httpx.Client, token: str) -> None:
    call = case.as_transport_kwargs(base_url=str(client.base_url))
    given = {str(name): str(value) for name, value in (call.get("headers") or {}).items()}
    headers = {name: value for name, value in given.items() if name.lower() not in RESERVED | {"prefer"}}
    try:
        request = client.build_request(
            call["method"], call["url"], params=call.get("params"), json=call.get("json"), content=call.get("data"),
            headers={name.encode(): value.encode() for name, value in headers.items()}
            | {b"authorization": token.encode()},
        )  # fmt: skip
    except httpx.InvalidURL:
        # Longer than the client sends it.
        return
    answer = client.send(request, stream=True)
    try:
        if answer.status_code != 200 or "event-stream" not in answer.headers["content-type"]:
            answer.read()
        assert answer.status_code < 500 or case.path == "/ready", (call, answer.text)
        if answer.status_code >= 400 and case.path != "/ready":
            assert answer.headers["content-type"] == "application/problem+json", (call, answer.text)
    finally:
        answer.close()
