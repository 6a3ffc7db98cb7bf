"""A gateway of the product: the real application on a real server, in the tests' own event loop."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from temporalio.client import Client

from api.composition import GatewayContext
from taskforce.application.access.sign_in_limits import SignInLimit
from taskforce.core.domain.access.rate_limits import Rate
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from taskforce.infrastructure.config.settings import REPOSITORY
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.notifications import Listener, Publisher
from taskforce.infrastructure.profile_agents import ProfileAgents
from tests.api.gateway import SECRET, ClientFor, Gateway, serving
from tests.fixtures.stack import PROOF_KEY, DatabaseUrls
from workflows.client.client import WorkflowClient


@pytest.fixture(scope="session")
async def gateway_parts(database: Database, postgres: DatabaseUrls, temporal: Client) -> AsyncIterator[GatewayContext]:
    """No worker polls this door's queue, so that runs stay as they were asked for."""
    async with Listener(postgres.app) as listener, Publisher(postgres.app) as live:
        parts = GatewayContext(
            database=database,
            listener=listener,
            live=live,
            workflow_client=WorkflowClient(temporal, f"nobody-polls-{os.getpid()}", PROOF_KEY),
            identities=Issuers([JWTIdentityProvider(JWTConfig(secret_key=SECRET), development=True)]),
            agents=ProfileAgents(
                REPOSITORY / "configs", "dev", {"TASKFORCE_MODELS": "openai/*, azure/*"}, development=True
            ),
            temporal_ui="http://temporal.example/namespaces/default/workflows",
            # All tests come from one address.
            sign_in_limit=SignInLimit(Rate.per_minute(1_000_000)),
        )
        yield parts


@pytest.fixture(scope="session")
async def gateway(gateway_parts: GatewayContext) -> AsyncIterator[Gateway]:
    async with serving(gateway_parts) as running:
        yield running


@pytest.fixture(scope="session")
async def working_gateway(
    gateway_parts: GatewayContext, workflow_client: WorkflowClient, worker: object
) -> AsyncIterator[Gateway]:
    """The same, with a worker behind it."""
    async with serving(replace(gateway_parts, workflow_client=workflow_client, closing=asyncio.Event())) as running:
        yield running


@pytest.fixture
async def client_for(gateway: Gateway) -> AsyncIterator[ClientFor]:
    async with gateway.clients() as make:
        yield make


@pytest.fixture
async def working_client_for(working_gateway: Gateway) -> AsyncIterator[ClientFor]:
    async with working_gateway.clients() as make:
        yield make


@pytest.fixture
def operator(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "olga", ["operator"])


@pytest.fixture
def working(working_client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return working_client_for(tenant, "olga", ["operator"])
