"""Audit events and anchors in responses."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel

from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.audit.events import AuditRecord


class AuditEventOut(BaseModel):
    """An audit event: who did, or attempted, which action on which resource, and its outcome.

    Attributes:
        actor_id: The actor: a person, a service account, `agent:<id>` or `system`.
        on_behalf_of: The user for whom an agent acted.
        channel: Where it came through: `api` or `worker`, for example.
        key_id: The id of the API key, if one was used.
        details: Further facts, such as values before and after; what was too large is cut, and marked so.
    """

    audit_id: str
    actor_id: str
    on_behalf_of: str | None
    channel: str
    action: str
    resource_type: str
    resource_id: str
    outcome: str
    reason: str | None
    request_id: str | None
    details: Mapping[str, object]
    at: datetime
    key_id: str | None


class AnchorOut(BaseModel):
    """The present end of the hash chain of the tenant's log: its hash binds every event before it.

    Attributes:
        seq: The number of the last event in the chain; 0 when nothing was ever sealed.
        hash: Its hash.
        anchor: Sequence number and hash as the text that `taskforce audit verify --anchor` takes.
        at: The time of that event; null when the event is kept no more, or there was none.
    """

    tenant_id: str
    seq: int
    hash: str
    anchor: str
    at: datetime | None


def audit_event_out(record: AuditRecord) -> AuditEventOut:
    """Renders an audit event."""
    return AuditEventOut.model_construct(**asdict(record))


def anchor_out(anchor: Anchor, at: datetime | None) -> AnchorOut:
    """Renders an anchor."""
    return AnchorOut(tenant_id=anchor.tenant_id, seq=anchor.seq, hash=anchor.hash, anchor=str(anchor), at=at)
