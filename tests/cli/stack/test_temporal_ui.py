"""The Temporal dev server and its UI, asked over HTTP as a browser would that shows another site."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Final

import httpx
import pytest
from temporalio.client import Client, WorkflowHandle

from cli.stack.processes import LINUX
from cli.stack.temporal import TemporalDevServer
from cli.stack.temporal_ui import refusal
from tests.chaos.invariants import eventually

SIGNALED: Final = "workflow_execution_signaled_event_attributes"


@pytest.fixture
def with_ui(temporal: Path, home: Path) -> Iterator[TemporalDevServer]:
    server = TemporalDevServer(temporal, log=home / "temporal.log", ui_port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def decision(with_ui: TemporalDevServer) -> WorkflowHandle[object, object]:
    """A workflow that waits for a signal, as an approval does; no worker is needed to see what reaches it."""
    client = await Client.connect(with_ui.address)
    return await client.start_workflow("Approval", id="acme/approval:1", task_queue="none")


SIGNAL = "/api/v1/namespaces/default/workflows/acme%2Fapproval%3A1/signal/approve"
FORMS = ("text/plain", "application/x-www-form-urlencoded", "application/json")


def open_ports(server: TemporalDevServer) -> set[str]:
    """Every address on which the server and its check take connections."""
    identity = server.identity()
    assert identity is not None
    listening = {f"127.0.0.1:{server.ui_port}"}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets_of(identity.pid):
            address, _, port = fields[1].rpartition(":")
            listening.add(f"{socket.inet_ntoa(bytes.fromhex(address)[::-1])}:{int(port, 16)}")
    return listening


def sockets_of(pid: int) -> set[str]:
    return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}


@pytest.mark.skipif(not LINUX, reason="who listens where is read from /proc")
async def test_no_port_takes_a_form_of_another_site(
    with_ui: TemporalDevServer, decision: WorkflowHandle[object, object]
) -> None:
    listening = sorted(open_ports(with_ui))
    assert all(address.startswith("127.") for address in listening)
    async with httpx.AsyncClient(timeout=60) as browser:
        for address, kind in product(listening, FORMS):
            headers = {"Origin": "https://evil.example", "Content-Type": kind}
            with suppress(httpx.HTTPError):  # gRPC does not speak HTTP/1.1
                assert (await browser.post(f"http://{address}{SIGNAL}", headers=headers, content="{}")).is_error
    assert await signals_of(decision) == 0


@pytest.mark.skipif(not LINUX, reason="elsewhere the unchecked UI has an address that can be tried")
async def test_no_port_shows_workflows_to_a_foreign_name(
    with_ui: TemporalDevServer, decision: WorkflowHandle[object, object]
) -> None:
    known = [address for address in sorted(open_ports(with_ui)) if address.startswith("127.0.0.1:")]
    paths = ("/", "/api/v1/namespaces", f"/api/v1/namespaces/default/workflows/{decision.id}")
    async with httpx.AsyncClient(headers={"Host": "evil.example"}, timeout=60) as browser:
        for address, path in product(known, paths):
            with suppress(httpx.HTTPError):
                assert (await browser.get(f"http://{address}{path}")).is_error, (address, path)


async def test_its_own_pages_are_served_and_decide(
    with_ui: TemporalDevServer, decision: WorkflowHandle[object, object]
) -> None:
    async with httpx.AsyncClient(base_url=str(with_ui.ui_url), timeout=60) as browser:
        page = await browser.get("/namespaces/default/workflows?query=a%20b")
        assert page.headers["content-type"].startswith("text/html")

        async def is_listed() -> bool:
            return decision.id in (await browser.get("/api/v1/namespaces/default/workflows")).text

        # The UI tries its own connection to the server, which may listen later, again and again.
        await eventually(is_listed)
        own = {"Origin": str(with_ui.ui_url), "X-CSRF-Token": browser.cookies["_csrf"]}
        assert (await browser.post(SIGNAL, json={}, headers=own)).status_code == 200
    assert await signals_of(decision) == 1


async def signals_of(decision: WorkflowHandle[object, object]) -> int:
    return len([event async for event in decision.fetch_history_events() if event.HasField(SIGNALED)])


def test_what_listens_where_is_told(with_ui: TemporalDevServer) -> None:
    told = with_ui.exposure()
    assert with_ui.address in told
    assert str(with_ui.ui_url) in told
    assert "HTTP API closed" in told


def test_a_program_whose_http_api_cannot_be_closed_is_told(temporal: Path, home: Path) -> None:
    old = {"frontend.httpAllowedHosts": '["*"]'}
    server = TemporalDevServer(temporal, log=home / "temporal.log", dynamic_config=old)
    server.start()
    try:
        assert "OPEN TO ANY PAGE" in server.exposure()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("host", "origin", "served"),
    [
        ("127.0.0.1:8233", None, True),
        ("localhost:9000", "http://localhost:9000", True),
        ("LOCALHOST:9000", "http://localhost:9000", True),
        ("[::1]:8233", None, True),
        ("localhost", "https://localhost", True),
        ("127.0.0.1:8233", "http://127.0.0.1:8000", False),
        ("127.0.0.1:8233", "null", False),
        ("127.0.0.1:8233", "", False),
        ("localhost.evil.example", None, False),
        ("127.0.0.1:8233@evil.example", None, False),
        ("evil.example", "http://evil.example", False),
        ("[", None, False),
        ("", None, False),
    ],
)
def test_the_ui_answers_to_its_own_names_and_pages(host: str, origin: str | None, *, served: bool) -> None:
    assert (refusal([host], origin) is None) is served
    assert refusal([host, host], origin) is not None
    assert refusal([], origin) is not None
