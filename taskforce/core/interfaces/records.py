"""What the use cases ask of storage: the records of one tenant, within one transaction.

`Store.tenant(...)` is the only way in. Its transaction commits when the block ends and rolls back when it raises.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.api_keys import ApiKey
from taskforce.core.domain.approvals import ApprovalStatus, Decision
from taskforce.core.domain.runs import Brief, Ending, Run, RunStatus, Totals
from taskforce.core.domain.tenants import Tenant
from taskforce.core.domain.transcript import Entry, Exchange
from taskforce.core.interfaces.access_records import (
    ApiKeys,
    Audit,
    OwnTenant,
    PolicyDocuments,
    RateBuckets,
    Roles,
    Users,
)
from taskforce.core.interfaces.stored import (
    Approver,
    Event,
    Json,
    Page,
    Request,
    RunFilter,
    Spending,
    StepUsage,
    StoredAnswer,
)
from taskforce.core.interfaces.tools import StoredFile
from taskforce.core.interfaces.webhook_records import Deliveries, Webhooks


class AlreadyThere(Exception):
    """Something of that key is stored already; nothing of this transaction was."""


class Runs(Protocol):
    """Runs and what they have used."""

    async def add(self, brief: Brief) -> None:
        """Commits what was asked for; makes the session if it is new."""
        ...

    async def get(self, run_id: str) -> Run | None:
        """The run, if the tenant has it."""
        ...

    async def brief(self, run_id: str) -> Brief | None:
        """What never changes about the run."""
        ...

    async def page(self, which: RunFilter, page: Page) -> Sequence[Run]:
        """A page of runs, newest first."""
        ...

    async def exchanges(self, brief: Brief, most: int) -> tuple[Exchange, ...]:
        """The latest finished runs of the session before this one, oldest first."""
        ...

    async def session_owner(self, session_id: str) -> str | None:
        """Whose session it is; None when there is no such session yet."""
        ...

    async def open_sessions(self, besides: str) -> int:
        """How many other sessions have an open run; nobody else starts one before this transaction ends."""
        ...

    async def begin(self, run_id: str, now: datetime) -> bool:
        """Marks a queued run as running; False when it already was."""
        ...

    async def set_status(self, run_id: str, status: RunStatus, waiting_for: str | None) -> bool:
        """Changes the status of an open run; False when nothing changed."""
        ...

    async def total(self, run_id: str) -> None:
        """Adds up the usage records into the run's row."""
        ...

    async def close(self, run_id: str, ending: Ending, answer: str | None, now: datetime) -> Totals | None:
        """Ends an open run and adds up its usage records; None when it had already ended."""
        ...


class Transcripts(Protocol):
    """The append-only transcript."""

    async def latest(self, run_id: str, from_step: int, most: int) -> Sequence[Entry]:
        """The mission and the latest entries from a step on, in order."""
        ...

    async def range(self, run_id: str, after_step: int, most_steps: int) -> Sequence[Entry]:
        """The entries of the steps after one, in order."""
        ...

    async def entry(self, run_id: str, step: int, call: int) -> Entry | None:
        """One entry by its key."""
        ...

    async def last_reply(self, run_id: str) -> Entry | None:
        """The model's latest reply that says anything."""
        ...

    async def last_of_tool(self, run_id: str, tool: str) -> Entry | None:
        """The latest observation of a tool's call that succeeded."""
        ...

    async def heard(self, run_id: str, author_id: str, text: str) -> bool:
        """Whether the model has heard this word of this person."""
        ...

    async def append(self, run_id: str, entry: Entry) -> Entry:
        """Appends an entry, at the latest when the transaction ends; returns it as it will be read.

        Raises:
            AlreadyThere: There is an entry of that key, which stays as it is; raised here, by what comes after, or at
                the end of the transaction.
        """
        ...


class Words(Protocol):
    """What people add to a run while it works, before the model hears it."""

    async def add(self, run_id: str, word_id: str, author_id: str, text: str, now: datetime) -> None:
        """Keeps a word until the model hears it."""
        ...

    async def get(self, run_id: str, word_ids: Sequence[str]) -> Sequence[tuple[str, str]]:
        """(author, text) in the order asked."""
        ...


class Effects(Protocol):
    """Marks of effects that must not happen twice."""

    async def begin(self, run_id: str, step: int, call: int, tool: str, now: datetime) -> bool:
        """Marks the start; False when it was marked before."""
        ...


class WholeResults(Protocol):
    """Results too large to show."""

    async def add(self, run_id: str, step: int, call: int, content: str) -> None:
        """Stores a result as a whole, once."""
        ...

    async def read(self, run_id: str, step: int, call: int, offset: int, length: int) -> str | None:
        """Characters `offset` to `offset + length`; None when there is no such result."""
        ...


class Files(Protocol):
    """The workspaces."""

    async def read(self, run_id: str, path: str) -> bytes | None:
        """A file's content; None when there is none."""
        ...

    async def write(self, run_id: str, path: str, content: bytes, now: datetime) -> None:
        """Creates or replaces a file."""
        ...

    async def list(self, run_id: str) -> Sequence[StoredFile]:
        """The files without their content, ordered by path."""
        ...


class Events(Protocol):
    """Durable milestones."""

    async def append(self, run_id: str, kind: str, data: Json, now: datetime, *, step: int = 0) -> None:
        """Appends a milestone; with a step the run's row tells that it has come so far."""
        ...

    async def after(self, run_id: str, seq: int, most: int) -> Sequence[Event]:
        """Milestones after a number, in order."""
        ...


class Usage(Protocol):
    """Usage records, each kept once."""

    async def add(self, spending: Spending) -> None:
        """Records what an effect used; a record that exists is left as it is."""
        ...

    async def of_steps(self, run_id: str, first: int, last: int) -> Sequence[StepUsage]:
        """What the model used in each of the steps, those without use left out."""
        ...


class Requests(Protocol):
    """Requests for approval."""

    async def add(self, request: Request) -> bool:
        """Adds a request; False when it is there already."""
        ...

    async def get(self, request_id: str) -> Request | None:
        """One request with its decisions."""
        ...

    async def pending(self, page: Page, approver: Approver | None = None) -> Sequence[Request]:
        """Open requests, newest first: all, or an approver's own and those that still lack that approver's word."""
        ...

    async def decided(self, request_id: str, decision: Decision) -> bool:
        """Records a decision; False when the person's word is there already."""
        ...

    async def close(self, request_id: str, status: ApprovalStatus, reason: str, now: datetime) -> bool:
        """Ends an open request; False when it has ended already."""
        ...


class Answers(Protocol):
    """First answers to idempotency keys."""

    async def claim(
        self, user_id: str, route: str, key: str, answer: StoredAnswer, now: datetime
    ) -> StoredAnswer | None:
        """Stores the answer if the key is new and returns None; else returns the first answer.

        Waits for a transaction that is claiming the same key.
        """
        ...


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
    def answers(self) -> Answers:
        """See `Answers`."""
        ...

    @property
    def audit(self) -> Audit:
        """See `Audit`."""
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

    def counting(self, tenant_id: str) -> AbstractAsyncContextManager[Records]:
        """As `tenant`, for what may be lost with the server's last moment: counts, not facts."""
        ...


class Platform(Protocol):
    """The door to what must be known before a tenant is."""

    async def unstarted_runs(self, before: datetime, most: int) -> Sequence[tuple[str, str]]:
        """(tenant, run) of runs that were committed before a time and have not begun."""
        ...

    async def register_tenant(self, tenant_id: str, now: datetime) -> None:
        """Makes the tenant's row if it is new."""
        ...

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        """A page of all tenants, by id."""
        ...

    async def find_key(self, key_hash: str) -> ApiKey | None:
        """The API key of a hash, whosever it is."""
        ...


class Live(Protocol):
    """Tells those who watch a run that something happened; losing a message loses nothing durable."""

    def text(self, tenant_id: str, run_id: str, step: int, attempt: int, text: str) -> None:
        """A piece of the model's words."""
        ...

    def changed(self, tenant_id: str, run_id: str) -> None:
        """New milestones are committed."""
        ...


class Clock(Protocol):
    """The time, as an argument that tests can choose."""

    def __call__(self) -> datetime:
        """Now, UTC."""
        ...
