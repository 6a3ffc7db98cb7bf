"""The audit log as it travels over HTTP."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel

from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.audit.events import AuditRecord


class AuditEventOut(BaseModel):
    """Who did, or tried, what, on what, and how it ended.

    Attributes:
        actor_id: Who: a person, a service account, `agent:<id>` or `system`.
        on_behalf_of: For whom an agent acted.
        channel: Through what: `api` or `worker`, for example.
        key_id: The API key that spoke, if it was one.
        details: Further facts, such as what it was before and after; what was too large is cut, and says so.
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
    """Where the chain of the tenant's log ends now: everything before it is bound by its hash.

    Attributes:
        seq: The number of the last event in the chain; 0 when nothing was ever sealed.
        hash: Its hash.
        anchor: All of it as the text that `taskforce audit verify --anchor` takes.
        at: The time of that event; null when it is kept no more, or there was none.
    """

    tenant_id: str
    seq: int
    hash: str
    anchor: str
    at: datetime | None


def audit_event_out(record: AuditRecord) -> AuditEventOut:
    """The event as it is sent."""
    return AuditEventOut.model_construct(**asdict(record))


def anchor_out(anchor: Anchor, at: datetime | None) -> AnchorOut:
    """The anchor as it is sent."""
    return AnchorOut(tenant_id=anchor.tenant_id, seq=anchor.seq, hash=anchor.hash, anchor=str(anchor), at=at)
