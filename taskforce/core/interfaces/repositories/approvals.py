"""The repositories of approvals, within one transaction of one tenant."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.approvals.approval import ApprovalStatus, Decision
from taskforce.core.domain.approvals.definitions import Definition
from taskforce.core.domain.approvals.records import (
    Approver,
    Delegation,
    HistoryEntry,
    Matches,
    Request,
    RequestFilter,
    RequestResult,
)
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.paging import Page


class Requests(Protocol):
    """The repository of requests for approval."""

    async def add(self, request: Request) -> bool:
        """Adds a request; False when it exists."""
        ...

    async def get(self, request_id: str) -> Request | None:
        """Returns a request with its decisions."""
        ...

    async def locked(self, request_id: str) -> Request | None:
        """Returns a request with its decisions and locks it for this transaction."""
        ...

    async def page(self, which: RequestFilter, page: Page, known_to: Approver | None = None) -> Sequence[Request]:
        """Returns a page of requests, newest first: all, or those that a user made or may decide."""
        ...

    async def pending(self, page: Page, approver: Approver | None = None) -> Sequence[Request]:
        """Returns a page of open requests, newest first: all, or an approver's own and those that await their
        decision.
        """
        ...

    async def decided(self, request_id: str, decision: Decision) -> bool:
        """Adds a decision; False when the approver has one on this content."""
        ...

    async def save(self, request: Request) -> None:
        """Updates deciders, content and the number of performed timed actions."""
        ...

    async def close(self, request_id: str, status: ApprovalStatus, reason: str, now: datetime) -> bool:
        """Closes an open request; False when it is closed."""
        ...

    async def propose(self, request_id: str, content_hash: str, payload: Json, author_id: str, now: datetime) -> None:
        """Stores an approver's edit of the content; it takes effect once it is approved."""
        ...

    async def proposal(self, request_id: str, content_hash: str) -> Json | None:
        """Returns an edit by its hash; None without one."""
        ...

    async def happened(self, request_id: str, happening: HistoryEntry) -> bool:
        """Adds an entry to the history; False when one of that name exists."""
        ...

    async def happening(self, request_id: str, name: str) -> HistoryEntry | None:
        """Returns an entry of the history by its name; None without one."""
        ...

    async def happenings(self, request_id: str, kind: str) -> Sequence[HistoryEntry]:
        """Lists all entries of one kind in a request's history, oldest first."""
        ...

    async def history(self, request_id: str) -> Sequence[HistoryEntry]:
        """Returns the history, oldest first."""
        ...

    async def granted_for_run(self, run_id: str) -> Mapping[str, Sequence[Terms]]:
        """Returns the tools that were approved for the rest of a run, each with the terms of its approvals."""
        ...

    async def matches(self, definition_ids: Sequence[str]) -> Mapping[str, Matches]:
        """Counts the requests that were made under each definition."""
        ...

    async def start(self, request_id: str, now: datetime) -> bool:
        """Marks the request's workflow as started; False when it was marked before."""
        ...


class RequestResults(Protocol):
    """The repository of requests' downloadable results, stored in pieces."""

    async def begin(self, result: RequestResult) -> bool:
        """Adds a result without pieces; False when the request has one."""
        ...

    async def get(self, request_id: str) -> RequestResult | None:
        """Returns a request's result without its pieces; None without one."""
        ...

    async def locked(self, request_id: str) -> RequestResult | None:
        """Returns a request's result and locks it for this transaction."""
        ...

    async def add(self, result: RequestResult, content: bytes, state: Json) -> None:
        """Adds the next piece to a locked result, with the writer's resume point."""
        ...

    async def finish(self, request_id: str, now: datetime, kept_until: datetime) -> None:
        """Marks a result as complete, and sets until when it is kept."""
        ...

    async def piece(self, request_id: str, number: int) -> bytes | None:
        """Returns a piece by its number, from 1; None without one."""
        ...

    async def erase(self, now: datetime, most: int) -> tuple[int, Sequence[str]]:
        """Erases pieces of expired results.

        Args:
            now: The time, UTC.
            most: Pieces at most.

        Returns:
            Number of erased pieces, and ids of the requests without pieces left.
        """
        ...


class Delegations(Protocol):
    """The repository of delegations."""

    async def of(self, user_id: str) -> Delegation | None:
        """Returns a user's delegation, current or future; None without one."""
        ...

    async def to(self, delegate_id: str, now: datetime) -> Sequence[str]:
        """Returns the ids of users who have delegated to a user, in force at a time."""
        ...

    async def save(self, delegation: Delegation) -> None:
        """Adds a user's delegation or replaces the earlier one."""
        ...

    async def remove(self, user_id: str) -> bool:
        """Removes a user's delegation; False without one."""
        ...


class Definitions(Protocol):
    """The repository of the tenant's own approval definitions; those of the profile are not stored."""

    async def get(self, definition_id: str) -> Definition | None:
        """Returns a definition; None without one."""
        ...

    async def locked(self, definition_id: str) -> Definition | None:
        """Returns a definition and locks it for this transaction."""
        ...

    async def all(self) -> Sequence[Definition]:
        """Returns all definitions, by id; their number is bounded."""
        ...

    async def page(self, after: str | None, most: int) -> Sequence[Definition]:
        """Returns a page of definitions, by id.

        Args:
            after: Id of the last definition of the page before.
            most: Definitions at most.
        """
        ...

    async def count(self) -> int:
        """Returns the number of definitions, and locks it for this transaction."""
        ...

    async def save(self, definition: Definition, saved_by: str, now: datetime) -> Definition | None:
        """Adds a definition of version 0, or replaces the stored one of the same version (optimistic lock).

        Returns:
            The stored definition with the next version; None when it exists already, or has another version.
        """
        ...

    async def remove(self, definition_id: str) -> bool:
        """Removes a definition; False without one."""
        ...
