"""What people do to an open request besides deciding it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.terms import NOBODY, Deciders

ChangeKind = Literal["withdraw", "reassign"]


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants of an open request.

    Attributes:
        actor_id: Who.
        kind: Take it back, or let others decide.
        at: When, UTC.
        comment: Why.
        to: Who shall decide.
        http_request: The HTTP request, for the audit log.
        key_id: The API key that spoke, if it was one: what it manages is what counts.
        channel: How it reached us.
    """

    actor_id: str
    kind: ChangeKind
    at: datetime
    comment: str = ""
    to: Deciders = NOBODY
    http_request: str | None = None
    key_id: str | None = None
    channel: Channel = Channel.API
