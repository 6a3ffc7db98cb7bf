"""What the use cases ask of storage about approvals, within one transaction of one tenant."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.approvals.approval import ApprovalStatus, Decision
from taskforce.core.domain.approvals.definitions import Definition
from taskforce.core.domain.approvals.records import (
    Approver,
    Delegation,
    HistoryEntry,
    Request,
    RequestFilter,
    RequestResult,
)
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.paging import Page


class Requests(Protocol):
    """Requests for approval."""

    async def add(self, request: Request) -> bool:
        """Adds a request; False when it is there already."""
        ...

    async def get(self, request_id: str) -> Request | None:
        """One request with its decisions."""
        ...

    async def locked(self, request_id: str) -> Request | None:
        """One request, which nobody else changes before this transaction ends."""
        ...

    async def page(self, which: RequestFilter, page: Page, known_to: Approver | None = None) -> Sequence[Request]:
        """A page of requests, newest first: all, or those that somebody asked for or may decide."""
        ...

    async def pending(self, page: Page, approver: Approver | None = None) -> Sequence[Request]:
        """Open requests, newest first: all, or an approver's own and those that still lack that approver's word."""
        ...

    async def decided(self, request_id: str, decision: Decision) -> bool:
        """Records a decision; False when the person's word on this content is there already."""
        ...

    async def save(self, request: Request) -> None:
        """Keeps who may decide now, what is asked for now, and how many timed actions have happened."""
        ...

    async def close(self, request_id: str, status: ApprovalStatus, reason: str, now: datetime) -> bool:
        """Ends an open request; False when it has ended already."""
        ...

    async def propose(self, request_id: str, content_hash: str, payload: Json, author_id: str, now: datetime) -> None:
        """Keeps what somebody would rather approve; it counts once it is approved."""
        ...

    async def proposal(self, request_id: str, content_hash: str) -> Json | None:
        """What somebody would rather approve."""
        ...

    async def happened(self, request_id: str, happening: HistoryEntry) -> bool:
        """Adds to the history; False when it is there already."""
        ...

    async def happening(self, request_id: str, name: str) -> HistoryEntry | None:
        """What happened under a name; None when it has not."""
        ...

    async def happenings(self, request_id: str, kind: str) -> Sequence[HistoryEntry]:
        """All that has happened of one kind, oldest first."""
        ...

    async def history(self, request_id: str) -> Sequence[HistoryEntry]:
        """What has happened, oldest first."""
        ...

    async def granted_for_run(self, run_id: str) -> frozenset[str]:
        """The tools that were approved for the rest of a run."""
        ...

    async def start(self, request_id: str, now: datetime) -> bool:
        """Notes that a workflow waits for the decision; False when one did before."""
        ...


class RequestResults(Protocol):
    """What came of requests and is kept for a while for who asked, in pieces."""

    async def begin(self, result: RequestResult) -> bool:
        """Adds a result without a piece; False when there is one of that request already."""
        ...

    async def get(self, request_id: str) -> RequestResult | None:
        """What is kept of a request's result."""
        ...

    async def locked(self, request_id: str) -> RequestResult | None:
        """As `get`; nobody else adds to it before this transaction ends."""
        ...

    async def add(self, result: RequestResult, content: bytes, state: Json) -> None:
        """Adds the next piece to a result that was read `locked`, and keeps how far it has come."""
        ...

    async def finish(self, request_id: str, now: datetime, kept_until: datetime) -> None:
        """Notes that a result is whole, and how long it is kept."""
        ...

    async def piece(self, request_id: str, number: int) -> bytes | None:
        """One piece, from 1 on."""
        ...

    async def erase(self, now: datetime, most: int) -> tuple[int, Sequence[str]]:
        """Erases results that are kept no longer, some pieces at a time.

        Args:
            now: The time, UTC.
            most: Pieces at most.

        Returns:
            How many pieces went, and the requests of which nothing is left.
        """
        ...


class Delegations(Protocol):
    """Who decides in whose place."""

    async def of(self, user_id: str) -> Delegation | None:
        """Who decides in somebody's place, now or later."""
        ...

    async def to(self, delegate_id: str, now: datetime) -> Sequence[str]:
        """Those in whose place somebody decides now."""
        ...

    async def save(self, delegation: Delegation) -> None:
        """Names a delegate, in the place of an earlier one."""
        ...

    async def remove(self, user_id: str) -> bool:
        """Ends a delegation; False when there was none."""
        ...


class Definitions(Protocol):
    """The tenant's own approval definitions; the profile's are not stored."""

    async def get(self, definition_id: str) -> Definition | None:
        """One definition."""
        ...

    async def locked(self, definition_id: str) -> Definition | None:
        """The definition, which nobody else changes before this transaction ends."""
        ...

    async def all(self) -> Sequence[Definition]:
        """Every definition, by id; a tenant has a bounded number."""
        ...

    async def page(self, after: str | None, most: int) -> Sequence[Definition]:
        """A page of definitions by id.

        Args:
            after: The id of the last one of the page before.
            most: Definitions at most.
        """
        ...

    async def count(self) -> int:
        """How many there are; nobody adds one before this transaction ends."""
        ...

    async def save(self, definition: Definition, saved_by: str, now: datetime) -> Definition | None:
        """Adds a definition of version 0, or replaces the one of its version.

        Returns:
            The definition as it is stored, of the next version; None when it is there already, or has another version.
        """
        ...

    async def remove(self, definition_id: str) -> bool:
        """Removes a definition; False when there was none."""
        ...
