"""The protocols of storage: the repositories of one tenant within one transaction, and look-ups across tenants.

`Store.tenant(...)` is the only way to a tenant's rows. Its transaction commits when the block ends and rolls back when
it raises.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.runs.kill_switches import ListedSwitch
from taskforce.core.domain.tenants.deletion import Deletion
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.due_rows import DueRows
from taskforce.core.interfaces.metrics import Fact
from taskforce.core.interfaces.repositories.access import PolicyDocuments, RateBuckets
from taskforce.core.interfaces.repositories.approvals import Definitions, Delegations, RequestResults, Requests
from taskforce.core.interfaces.repositories.audit import Audit
from taskforce.core.interfaces.repositories.budgets import Budgets
from taskforce.core.interfaces.repositories.catalog import Catalog
from taskforce.core.interfaces.repositories.cost_reports import CostReports
from taskforce.core.interfaces.repositories.idempotency import Answers
from taskforce.core.interfaces.repositories.identity import AccessGrants, ApiKeys, Roles, Users
from taskforce.core.interfaces.repositories.kill_switches import KillSwitches
from taskforce.core.interfaces.repositories.prices import Prices
from taskforce.core.interfaces.repositories.runs import (
    Effects,
    Events,
    Files,
    Messages,
    Runs,
    Transcripts,
    Usage,
    WholeResults,
)
from taskforce.core.interfaces.repositories.service_statistics import StatisticsRepository
from taskforce.core.interfaces.repositories.tenants import Deletions, OwnTenant, TenantData
from taskforce.core.interfaces.repositories.usage_buckets import UsageBuckets
from taskforce.core.interfaces.repositories.webhooks import Deliveries, Webhooks


class Records(Protocol):
    """The repositories of one tenant within one transaction."""

    @property
    def tenant_id(self) -> str:
        """Returns the id of the tenant."""
        ...

    @property
    def facts(self) -> list[Fact]:
        """Returns what the transaction adds that the metrics count after its commit; use cases append to it."""
        ...

    @property
    def tenant(self) -> OwnTenant:
        """Returns the repository of the tenant's own row."""
        ...

    @property
    def roles(self) -> Roles:
        """Returns the repository of roles."""
        ...

    @property
    def keys(self) -> ApiKeys:
        """Returns the repository of API keys."""
        ...

    @property
    def access_grants(self) -> AccessGrants:
        """Returns the repository of access grants."""
        ...

    @property
    def policies(self) -> PolicyDocuments:
        """Returns the repository of policy documents."""
        ...

    @property
    def rates(self) -> RateBuckets:
        """Returns the repository of rate-limit buckets."""
        ...

    @property
    def users(self) -> Users:
        """Returns the repository of users."""
        ...

    @property
    def catalog(self) -> Catalog:
        """Returns the repository of agents."""
        ...

    @property
    def runs(self) -> Runs:
        """Returns the repository of runs."""
        ...

    @property
    def kill_switches(self) -> KillSwitches:
        """Returns the repository of kill switches."""
        ...

    @property
    def transcripts(self) -> Transcripts:
        """Returns the repository of transcripts."""
        ...

    @property
    def messages(self) -> Messages:
        """Returns the repository of people's messages to runs."""
        ...

    @property
    def effects(self) -> Effects:
        """Returns the repository of effects that must not happen twice."""
        ...

    @property
    def results(self) -> WholeResults:
        """Returns the repository of large tool results."""
        ...

    @property
    def files(self) -> Files:
        """Returns the repository of workspaces' files."""
        ...

    @property
    def events(self) -> Events:
        """Returns the repository of runs' milestones."""
        ...

    @property
    def usage(self) -> Usage:
        """Returns the repository of usage records."""
        ...

    @property
    def prices(self) -> Prices:
        """Returns the repository of the tenant's prices."""
        ...

    @property
    def budgets(self) -> Budgets:
        """Returns the repository of the tenant's budgets."""
        ...

    @property
    def usage_buckets(self) -> UsageBuckets:
        """Returns the repository of usage summed up by 15 minutes."""
        ...

    @property
    def cost_reports(self) -> CostReports:
        """Returns the repository of cost reports."""
        ...

    @property
    def service_statistics(self) -> StatisticsRepository:
        """Returns the repository of service statistics."""
        ...

    @property
    def requests(self) -> Requests:
        """Returns the repository of approval requests."""
        ...

    @property
    def request_results(self) -> RequestResults:
        """Returns the repository of approval requests' downloadable results."""
        ...

    @property
    def delegations(self) -> Delegations:
        """Returns the repository of delegations."""
        ...

    @property
    def definitions(self) -> Definitions:
        """Returns the repository of approval definitions."""
        ...

    @property
    def answers(self) -> Answers:
        """Returns the repository of first answers to idempotency keys."""
        ...

    @property
    def audit(self) -> Audit:
        """Returns the repository of the audit log."""
        ...

    @property
    def deletions(self) -> Deletions:
        """Returns the repository of tenant deletions."""
        ...

    @property
    def tenant_data(self) -> TenantData:
        """Returns the look-ups of the tenant's remaining rows."""
        ...

    @property
    def webhooks(self) -> Webhooks:
        """Returns the repository of webhooks."""
        ...

    @property
    def deliveries(self) -> Deliveries:
        """Returns the repository of webhook deliveries."""
        ...

    @property
    def due_rows(self) -> DueRows:
        """Returns the repository of the rows that sweeps look after."""
        ...


class Store(Protocol):
    """Opens transactions on one tenant's rows."""

    def tenant(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        """Opens a transaction that sees only the tenant's rows (row-level security)."""
        ...

    def reading(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        """Opens a transaction for reads without locks that need not be consistent with one another."""
        ...

    def counting(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        """Opens a transaction that commits asynchronously: a crash of the server may lose it, so for counts, not
        facts.
        """
        ...


class Tenants(Protocol):
    """Lists the tenants."""

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """Returns a page of all tenants, by id."""
        ...


class UnsealedLogs(Protocol):
    """Lists the tenants whose audit log has events that are not sealed yet."""

    async def unsealed_tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """Returns a page of these tenants, by id; what it costs grows with the page, not with tenants or events."""
        ...


class Platform(Tenants, Protocol):
    """Look-ups across tenants, before the tenant is known."""

    async def register_tenant(self, tenant_id: str, now: datetime) -> None:
        """Adds the tenant's row if it does not exist."""
        ...

    def with_key(self, key_hash: str) -> AbstractAsyncContextManager[tuple[ApiKey, Records] | None]:
        """Finds an API key of any tenant by its hash, and opens its tenant's repositories as `counting` does.

        Both happen in one transaction. Yields None when there is no such key.
        """
        ...

    async def deletion(self, tenant_id: str) -> Deletion | None:
        """Returns the report of a tenant's deletion; None without one."""
        ...

    async def kill_switches(self, after: tuple[str, str, str] | None, most: int) -> Sequence[ListedSwitch]:
        """Returns a page of the pulled kill switches of all tenants, after a place."""
        ...

    async def open_deletions(
        self, before: datetime, since: datetime, after: str, most: int
    ) -> Sequence[tuple[str, bool]]:
        """Returns a page of the deletions whose report is open, by the tenant's id.

        Args:
            before: Those that were requested before this time.
            since: Those that have rows to erase, or whose last row was erased since this time.
            after: The last tenant of the page before; empty for the first page.
            most: The number of deletions at most.

        Returns:
            The deleted tenant, and whether the workflow has begun.
        """
        ...
