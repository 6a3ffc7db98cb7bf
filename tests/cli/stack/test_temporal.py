"""The Temporal dev server, started for real."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from cli.stack.binaries import find_temporal, time_skipping_server
from cli.stack.ports import is_free
from cli.stack.temporal import SEARCH_ATTRIBUTES, TemporalDevServer
from taskforce.core.domain.errors import Unavailable


async def attributes(client: Client) -> set[str]:
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

    answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    return set(answer.custom_attributes)


async def test_it_answers_clients_and_ends(temporal: Path, home: Path) -> None:
    server = TemporalDevServer(temporal, log=home / "temporal.log")
    server.start()
    try:
        client = await Client.connect(server.address)
        assert attributes_missing(await attributes(client)) == set()
        assert server.ui_url is None
    finally:
        server.stop()
    assert not server.alive()
    assert is_free(server.port)


def attributes_missing(found: set[str]) -> set[str]:
    return set(SEARCH_ATTRIBUTES) - found


async def test_a_file_made_by_an_older_version_gets_the_new_search_attributes(temporal: Path, home: Path) -> None:
    for names in (("TaskforceTenant",), SEARCH_ATTRIBUTES):
        server = TemporalDevServer(
            temporal, log=home / "temporal.log", database=home / "temporal.db", search_attributes=names, ui_port=0
        )
        server.start()
        try:
            assert set(names) <= await attributes(await Client.connect(server.address))
        finally:
            server.stop()


def test_a_taken_port_is_told_with_its_own_words(temporal: Path, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = TemporalDevServer(temporal, log=home / "temporal.log", port=taken.getsockname()[1])
        with pytest.raises(Unavailable) as refused:
            server.start()
        server.stop()
    assert "address already in use" in refused.value.message


@pytest.mark.parametrize("lost", ["port", "_http_port"])
async def test_a_free_port_that_was_lost_meanwhile_is_another(temporal: Path, home: Path, lost: str) -> None:
    server = TemporalDevServer(temporal, log=home / "temporal.log")
    with socket.create_server(("127.0.0.1", getattr(server, lost))):
        server.start()
        try:
            assert attributes_missing(await attributes(await Client.connect(server.address))) == set()
        finally:
            server.stop()


async def test_a_server_that_is_known_keeps_its_port_when_it_starts_again(temporal: Path, home: Path) -> None:
    server = TemporalDevServer(temporal, log=home / "temporal.log")
    server.start()
    server.stop()
    known = server.address
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(Unavailable, match="already in use"):
        server.start()
    assert server.address == known


def test_a_program_on_path_comes_first_unless_it_does_not_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, temporal: Path
) -> None:
    program = home / "temporal"
    monkeypatch.setenv("PATH", str(home))
    (home / "cache" / "bin").mkdir(parents=True)
    cached = home / "cache" / "bin" / "temporal"
    cached.symlink_to(temporal)
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    assert find_temporal(home / "cache") == cached
    program.write_text("#!/bin/sh\nexit 0\n")
    assert find_temporal(home / "cache") == program


async def test_the_time_skipping_server_skips_ninety_days() -> None:
    try:
        launcher = time_skipping_server()
    except Unavailable as error:
        pytest.skip(error.message)
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(launcher), test_server_startup_timeout=timedelta(seconds=60)
    )
    async with environment:
        before = await environment.get_current_time()
        await environment.sleep(timedelta(days=90))
        assert await environment.get_current_time() - before >= timedelta(days=90)
