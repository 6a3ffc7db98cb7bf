"""Changes of an open request other than decisions: withdrawal and reassignment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.terms import NOBODY, Deciders

ChangeKind = Literal["withdraw", "reassign"]


@dataclass(frozen=True, slots=True)
class Change:
    """A withdrawal or reassignment that a user submits for an open request.

    Attributes:
        actor_id: The user who changes the request.
        kind: Withdraw it, or reassign it to other deciders.
        at: Time of the change, UTC.
        comment: The reason given; may be empty.
        to: The new deciders of a reassignment.
        http_request: Id of the HTTP request, for the audit log.
        key_id: The API key that authenticated the user, None for a person; the change is authorized by the key's
            rights.
        channel: The channel on which it was received.
    """

    actor_id: str
    kind: ChangeKind
    at: datetime
    comment: str = ""
    to: Deciders = NOBODY
    http_request: str | None = None
    key_id: str | None = None
    channel: Channel = Channel.API
