"""Audit events, as appended and as stored."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from taskforce.core.domain.json_limits import Json


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An audit event to be appended: actor, action, resource and outcome.

    `content` is the whole content of the request; the deployment's `ContentRules` decide what of it is stored. `key_id`
    is the API key of the actor; None for a person.
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
    """An audit event as stored."""

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
        """Returns the event as plain JSON, as it is sealed and exported.

        `key_id` is left out when it is None: events that were sealed before the field existed must hash as before.
        """
        plain = {**asdict(self), "details": dict(self.details), "at": self.at.astimezone(UTC).isoformat()}
        return {name: value for name, value in plain.items() if name != "key_id" or value is not None}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The filter of a list of audit events; None does not filter.

    Attributes:
        actor_id: The actor.
        action: The action, for example `role.create`.
        resource_type: The kind of resource.
        resource_id: Id of the resource.
        outcome: The outcome, for example `denied`.
        since: Start of the period, UTC, included.
        until: End of the period, UTC, excluded.
        key_id: The API key of the actor.
    """

    actor_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    key_id: str | None = None
