"""Records of approval requests: the request, its history, its result, its filter, and delegations."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus
from taskforce.core.domain.json_limits import Json

MOST_MATCHES: Final = 10_000
"""Requests of a definition that are counted, at most."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for approval as stored.

    Attributes:
        approval: The aggregate: requester, terms, decisions.
        run_id: The run that waits for it; None without one.
        step: The step of the tool call; 0 without a run.
        call: The call within the step; 0 without a run.
        request_type: The type, for example `tool_call`.
        resource_type: The kind of resource, for example `tool`.
        resource_id: The id or name of the resource.
        title: Display title.
        payload: The requested content, as first requested.
        content_hash: SHA-256 over the approved part of the payload, as canonical JSON.
        status: The status; final once `closed_at` is set.
        closed_at: Time at which it was closed, UTC.
        reason: Why it was closed so.
        definition_id: The definition that it was opened under; None for default terms.
        description: The requester's reason.
        edited: The content as an approver has edited it; None without an edit.
        for_run: Whether the approval holds for this tool for the rest of the run.
        key_id: The API key that made it; None for a person, and for a run, which stores its own.
    """

    approval: Approval
    run_id: str | None
    step: int
    call: int
    request_type: str
    resource_type: str
    resource_id: str
    title: str
    payload: Json
    content_hash: str
    status: ApprovalStatus = ApprovalStatus.PENDING
    closed_at: datetime | None = None
    reason: str | None = None
    definition_id: str | None = None
    description: str = ""
    edited: Json | None = None
    for_run: bool = False
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry of a request's history.

    Attributes:
        name: Key of the entry, unique within the request, so that a retried activity writes it once.
        kind: The kind of entry, for example `reminded`.
        actor_id: The acting user, or `system`.
        at: Time of the entry, UTC.
        comment: The actor's comment.
        data: Further facts, JSON-compatible.
    """

    name: str
    kind: str
    actor_id: str
    at: datetime
    comment: str = ""
    data: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """The filter of a list of requests; None does not filter."""

    status: ApprovalStatus | None = None
    request_type: str | None = None
    requester_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Matches:
    """The requests that were made under a definition, as far as they are kept.

    Attributes:
        times: Their number, counted up to `MOST_MATCHES`.
        last_at: Time of the latest one, UTC; None without any.
    """

    times: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """A delegation: a user who decides in another's place for a while.

    Attributes:
        user_id: The user who delegates.
        delegate_id: The user who decides in their place.
        since: Start, UTC, included.
        until: End, UTC, excluded.
    """

    user_id: str
    delegate_id: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The downloadable result of an approved request, kept for a while for its requester.

    Attributes:
        request_id: The request.
        media_type: Media type of the file.
        file_name: Name of the downloaded file.
        begun_at: Time at which writing began, UTC.
        kept_until: Time at which it is deleted, UTC.
        state: Resume point of the writer, and facts about the result.
        pieces: Number of stored pieces.
        size: Bytes of all pieces.
        finished_at: Time of completion, UTC; None while it is incomplete.
    """

    request_id: str
    media_type: str
    file_name: str
    begun_at: datetime
    kept_until: datetime
    state: Json = field(default_factory=dict, hash=False)
    pieces: int = 0
    size: int = 0
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Approver:
    """An authenticated approver with their current roles.

    Attributes:
        user_id: The user.
        roles: The user's roles.
        stands_for: The users who have delegated to this one, with their roles.
        key_id: The API key that authenticated the user; None for a person.
        automated: Whether it is a service account, or a key that another user has issued.
    """

    user_id: str
    roles: frozenset[str]
    stands_for: "tuple[Approver, ...]" = ()
    key_id: str | None = None
    automated: bool = False

    @property
    def in_person(self) -> bool:
        """Returns whether the user signed in as a person, not by an API key."""
        return self.key_id is None
