"""What the use cases ask of storage: the records of one tenant, within one transaction.

`Store.tenant(...)` is the only way in. Its transaction commits when the block ends and rolls back when it raises.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.identity.api_keys import ApiKey
from taskforce.core.domain.tenants.deletion import Deletion
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.repositories.access import PolicyDocuments, RateBuckets
from taskforce.core.interfaces.repositories.approvals import Definitions, Delegations, RequestResults, Requests
from taskforce.core.interfaces.repositories.audit import Audit
from taskforce.core.interfaces.repositories.catalog import Catalog
from taskforce.core.interfaces.repositories.idempotency import Answers
from taskforce.core.interfaces.repositories.identity import AccessGrants, ApiKeys, Roles, Users
from taskforce.core.interfaces.repositories.runs import (
    Effects,
    Events,
    Files,
    Runs,
    Transcripts,
    Usage,
    WholeResults,
    Words,
)
from taskforce.core.interfaces.repositories.tenants import Deletions, OwnTenant, TenantData
from taskforce.core.interfaces.repositories.webhooks import Deliveries, Webhooks


class Records(Protocol):
    """Everything of one tenant."""

    @property
    def tenant_id(self) -> str:
        """The tenant."""
        ...

    @property
    def tenant(self) -> OwnTenant:
        """See `OwnTenant`."""
        ...

    @property
    def roles(self) -> Roles:
        """See `Roles`."""
        ...

    @property
    def keys(self) -> ApiKeys:
        """See `ApiKeys`."""
        ...

    @property
    def access_grants(self) -> AccessGrants:
        """See `AccessGrants`."""
        ...

    @property
    def policies(self) -> PolicyDocuments:
        """See `PolicyDocuments`."""
        ...

    @property
    def rates(self) -> RateBuckets:
        """See `RateBuckets`."""
        ...

    @property
    def users(self) -> Users:
        """See `Users`."""
        ...

    @property
    def catalog(self) -> Catalog:
        """See `Catalog`."""
        ...

    @property
    def runs(self) -> Runs:
        """See `Runs`."""
        ...

    @property
    def transcripts(self) -> Transcripts:
        """See `Transcripts`."""
        ...

    @property
    def words(self) -> Words:
        """See `Words`."""
        ...

    @property
    def effects(self) -> Effects:
        """See `Effects`."""
        ...

    @property
    def results(self) -> WholeResults:
        """See `WholeResults`."""
        ...

    @property
    def files(self) -> Files:
        """See `Files`."""
        ...

    @property
    def events(self) -> Events:
        """See `Events`."""
        ...

    @property
    def usage(self) -> Usage:
        """See `Usage`."""
        ...

    @property
    def requests(self) -> Requests:
        """See `Requests`."""
        ...

    @property
    def request_results(self) -> RequestResults:
        """See `RequestResults`."""
        ...

    @property
    def delegations(self) -> Delegations:
        """Who decides in whose place."""
        ...

    @property
    def definitions(self) -> Definitions:
        """See `Definitions`."""
        ...

    @property
    def answers(self) -> Answers:
        """See `Answers`."""
        ...

    @property
    def audit(self) -> Audit:
        """See `Audit`."""
        ...

    @property
    def deletions(self) -> Deletions:
        """See `Deletions`."""
        ...

    @property
    def estate(self) -> TenantData:
        """See `TenantData`."""
        ...

    @property
    def webhooks(self) -> Webhooks:
        """See `Webhooks`."""
        ...

    @property
    def deliveries(self) -> Deliveries:
        """See `Deliveries`."""
        ...


class Store(Protocol):
    """The door to the tenants' data."""

    def tenant(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        """Opens a transaction in which nothing but the tenant's rows exists."""
        ...

    def reading(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        """As `tenant`, for looks that change nothing, lock nothing, and need not agree with one another."""
        ...

    def counting(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        """As `tenant`, for what may be lost with the server's last moment: counts, not facts."""
        ...


class Tenants(Protocol):
    """The door to the list of all tenants."""

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """A page of all tenants, by id."""
        ...


class Orphans(Protocol):
    """The door to what a crash between commit and act has left behind, of all tenants, in the order of its ids."""

    async def unstarted_runs(self, before: datetime, most: int, after: str | None = None) -> Sequence[tuple[str, str]]:
        """Lists (tenant, run) of runs that were committed before a time and have not begun, after a run's id."""
        ...

    async def unstarted_requests(
        self, before: datetime, most: int, after: str | None = None
    ) -> Sequence[tuple[str, str]]:
        """Lists (tenant, request) of requests, opened before a time, for which no workflow waits yet, after an id."""
        ...

    async def runs_to_cancel(self, before: datetime, most: int, after: str | None = None) -> Sequence[tuple[str, str]]:
        """Lists (tenant, run) of open runs that were to be cancelled before a time, after a run's id."""
        ...


class Platform(Tenants, Protocol):
    """The door to what must be known before a tenant is."""

    async def register_tenant(self, tenant_id: str, now: datetime) -> None:
        """Makes the tenant's row if it is new."""
        ...

    def of_key(self, key_hash: str) -> AbstractAsyncContextManager[tuple[ApiKey, Records] | None]:
        """Finds an API key by its hash, whosever it is, and opens as `counting` does what belongs to its tenant.

        Both is one transaction. It is None when there is no such key.
        """
        ...

    async def deletion(self, tenant_id: str) -> Deletion | None:
        """The report of a tenant's deletion, whoever keeps it."""
        ...

    async def unstarted_deletions(self, before: datetime, most: int) -> Sequence[str]:
        """Tenants whose deletion was committed before a time and has not begun."""
        ...
