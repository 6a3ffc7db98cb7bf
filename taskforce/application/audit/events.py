"""Audit events of what the product does by itself, and of what people do whom only their ids name here.

What an actor does is `Actor.event`.
"""

from datetime import datetime

from taskforce.core.domain.audit.events import AuditEvent

SYSTEM = "system"
WORKER = "worker"


def system_event(
    action: str,
    resource_type: str,
    resource_id: str,
    at: datetime,
    *,
    actor_id: str = SYSTEM,
    on_behalf_of: str | None = None,
    outcome: str = "allowed",
    reason: str | None = None,
    key_id: str | None = None,
    **details: object,
) -> AuditEvent:
    """Makes the event of what a worker does: by itself, for an agent, or because of what people have decided.

    Args:
        action: What was done, for example `run.end`.
        resource_type: To what kind of thing.
        resource_id: To which one.
        at: When, UTC.
        actor_id: Who did it.
        on_behalf_of: For whom.
        outcome: How it ended.
        reason: Why it ended so.
        key_id: The API key under which it happens, if it is one.
        **details: Further facts.
    """
    return AuditEvent(
        actor_id=actor_id,
        on_behalf_of=on_behalf_of,
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        outcome=outcome,
        reason=reason,
        channel=WORKER,
        key_id=key_id,
        at=at,
        details=details or None,
    )


def user_event(
    action: str,
    resource_type: str,
    resource_id: str,
    at: datetime,
    *,
    user_id: str,
    request_id: str | None,
    key_id: str | None,
    **details: object,
) -> AuditEvent:
    """Makes the event of what somebody did over HTTP.

    Args:
        action: What was done, for example `run.start`.
        resource_type: To what kind of thing.
        resource_id: To which one.
        at: When, UTC.
        user_id: Who did it.
        request_id: The HTTP request.
        key_id: The API key that spoke, if it was one.
        **details: Further facts.
    """
    return AuditEvent(
        actor_id=user_id,
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        outcome="allowed",
        at=at,
        request_id=request_id,
        key_id=key_id,
        details=details or None,
    )
