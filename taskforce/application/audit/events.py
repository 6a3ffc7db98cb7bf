"""Builders of audit events of the product itself, and of refused requests; for users, `Actor.event`."""

from collections.abc import Mapping
from datetime import datetime

from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.runs.run import RunSpec

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
    """Builds the audit event of an action of a worker: its own, of an agent, or of an approved request.

    Args:
        action: The action, for example `run.end`.
        resource_type: The type of the resource.
        resource_id: The id of the resource.
        at: The time, UTC.
        actor_id: The id of the actor: `system`, or `agent:` and the agent's id.
        on_behalf_of: The id of the user whose right was used, if any.
        outcome: The outcome.
        reason: The reason of the outcome.
        key_id: The id of the API key whose rights limited the action, if any.
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


def agent_event(
    spec: RunSpec,
    action: str,
    resource_type: str,
    resource_id: str,
    at: datetime,
    *,
    outcome: str = "allowed",
    reason: str | None = None,
    **details: object,
) -> AuditEvent:
    """Builds the audit event of what a run's agent did, with the rights of the run's user and API key.

    Args:
        spec: The run's specification.
        action: The action, for example `tool.call`.
        resource_type: The type of the resource.
        resource_id: The id of the resource.
        at: The time, UTC.
        outcome: The outcome.
        reason: The reason of the outcome.
        **details: Further facts.
    """
    return system_event(
        action,
        resource_type,
        resource_id,
        at,
        actor_id=f"agent:{spec.agent.agent_id}",
        on_behalf_of=spec.user_id,
        outcome=outcome,
        reason=reason,
        key_id=spec.key_id,
        **details,
    )


def denied_event(
    action: str,
    resource_type: str,
    resource_id: str,
    at: datetime,
    *,
    actor_id: str,
    reason: str,
    request_id: str | None,
    key_id: str | None,
    details: Mapping[str, object],
) -> AuditEvent:
    """Builds the audit event of a refused request; its sender may be unknown, or be no user.

    Args:
        action: The action, for example `auth.failed`.
        resource_type: The type of the resource.
        resource_id: The id of the resource.
        at: The time, UTC.
        actor_id: The id of the actor, as far as it is known.
        reason: The code of the refusal.
        request_id: The id of the HTTP request, if any.
        key_id: The id of the API key that authenticated the request, if any.
        details: Further facts.
    """
    return AuditEvent(
        actor_id=actor_id,
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        outcome="denied",
        reason=reason,
        at=at,
        request_id=request_id,
        key_id=key_id,
        details=details,
    )
