"""Audit events as they are appended and read."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from taskforce.core.domain.json_limits import Json


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did, or tried, what, on what, and how it ended.

    `content` is what was asked, whole: the log keeps of it what the deployment's `ContentRules` say. `key_id` is the
    API key that spoke, if it was one.
    """

    actor_id: str
    action: str
    resource_type: str
    resource_id: str
    outcome: str
    at: datetime
    reason: str | None = None
    channel: str = "api"
    on_behalf_of: str | None = None
    request_id: str | None = None
    details: Json | None = None
    content: Json | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An event as the log keeps it."""

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
    details: Json
    at: datetime
    key_id: str | None = None

    def event(self) -> dict[str, object]:
        """The event as it is chained and exported: plain JSON.

        A key is left out where none spoke: so it was before keys were named, and what is sealed stays as it was hashed.
        """
        plain = {**asdict(self), "details": dict(self.details), "at": self.at.astimezone(UTC).isoformat()}
        return {name: value for name, value in plain.items() if name != "key_id" or value is not None}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit events to list; None is any.

    Attributes:
        actor_id: Who.
        action: For example `role.create`.
        resource_type: On what kind of thing.
        resource_id: On which one.
        outcome: For example `denied`.
        since: From when on, UTC.
        until: Until when, UTC; that moment left out.
        key_id: By which API key.
    """

    actor_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    key_id: str | None = None
