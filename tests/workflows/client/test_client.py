"""The workflow client, as far as it is about a whole namespace."""

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from taskforce.core.domain.errors import Unavailable
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect
from workflows.runtime import search_attributes


@pytest.fixture
async def without_operator_rights(temporal_address: TemporalAddress, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client to whom Temporal's operator API answers as a server with an authorizer does."""
    client = await connect(temporal_address)

    async def refuse(*_: object, **__: object) -> None:
        raise RPCError("Request unauthorized.", RPCStatusCode.PERMISSION_DENIED, b"")

    for method in ("list_search_attributes", "add_search_attributes"):
        monkeypatch.setattr(client.operator_service, method, refuse)
    return client


async def test_a_worker_needs_no_right_to_the_operator_api_once_the_search_attributes_exist(
    without_operator_rights: Client,
) -> None:
    assert await WorkflowClient(without_operator_rights, "none").ensure_search_attributes() == []


async def test_without_that_right_what_is_missing_is_said_with_the_command_that_registers_it(
    without_operator_rights: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = SearchAttributeKey.for_keyword("TaskforceLacking")
    monkeypatch.setattr(search_attributes, "ALL", (*search_attributes.ALL, lacking))
    with pytest.raises(Unavailable) as missing:
        await WorkflowClient(without_operator_rights, "none").ensure_search_attributes()
    assert missing.value.code == "search_attributes_missing"
    assert "temporal operator search-attribute create --namespace default" in missing.value.message
    assert "--name TaskforceLacking --type Keyword" in missing.value.message


async def test_with_that_right_nothing_that_exists_is_added(temporal: Client) -> None:
    assert await WorkflowClient(temporal, "none").ensure_search_attributes() == []
