"""Audit events of refusals: sign-ins that failed, and attempts to change what the caller may not."""

from contextlib import suppress
from dataclasses import dataclass

import structlog
from starlette.requests import Request

from api.composition import GatewayContext
from taskforce.application.access.denials import record_denial
from taskforce.application.audit.events import denied_event
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import DomainError, Forbidden, Limited, Unauthenticated, Unavailable
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.redaction import redact

NOBODY = "anonymous"
_NO_TENANT = frozenset({"tenant_unknown", "tenant_deleted"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """Names the user of an accepted credential, whatever that user may do.

    Attributes:
        tenant_id: The tenant.
        user_id: The user.
        key_id: The API key, if it was one.
    """

    tenant_id: str
    user_id: str
    key_id: str | None = None


async def note_refusal(request: Request, error: DomainError) -> None:
    """Records a refusal in the audit log, where it must show; when that fails, the process's log gets it.

    Args:
        request: The refused request; its state has the principal that asked, once that is known.
        error: Why it was refused.
    """
    if not isinstance(error, Unauthenticated | Forbidden):
        return
    context = request.app.state.context
    assert isinstance(context, GatewayContext)
    principal = getattr(request.state, "principal", None)
    with suppress(Limited):
        try:
            # A credential from an address that is not admitted may be stolen: it is recorded as a failed sign-in.
            if isinstance(principal, Principal) and error.code != "address_not_allowed":
                await _note_denial(request, context, principal, error)
            elif error.code != "token_missing":
                await _note_failed_sign_in(request, context, error)
        except Unavailable as gone:
            _log.warning("audit.not_written", code=error.code, reason=gone.code)


async def _note_denial(request: Request, context: GatewayContext, principal: Principal, error: DomainError) -> None:
    _log.warning("access.denied", code=error.code, **error.details)
    # A refused look changes nothing, and may be repeated any number of times.
    if request.method in READING:
        return
    event = _event(request, context, principal.user.user_id, "access.denied", error)
    await record_denial(context.database, principal.tenant.tenant_id, event)


async def _note_failed_sign_in(request: Request, context: GatewayContext, error: DomainError) -> None:
    _log.warning("auth.failed", code=error.code)
    context.sign_in_limit.failed(getattr(request.state, "client", None), context.clock())
    # No tenant to log it under: no verified credential names one, or the one that it names is not there any more.
    tenant_id, actor_id = None, NOBODY
    claimed = getattr(request.state, "claimed", None)
    if isinstance(claimed, Claimed) and error.code not in _NO_TENANT:
        tenant_id, actor_id = claimed.tenant_id, claimed.user_id
    await context.failed_sign_ins.add(tenant_id, _event(request, context, actor_id, "auth.failed", error))


def _event(request: Request, context: GatewayContext, actor_id: str, action: str, error: DomainError) -> AuditEvent:
    route = request.scope.get("route")
    return denied_event(
        action,
        "route",
        redact(f"{request.method} {getattr(route, 'path', request.url.path)}")[:500],
        context.clock(),
        actor_id=actor_id,
        reason=error.code,
        request_id=getattr(request.state, "request_id", None),
        key_id=getattr(getattr(request.state, "claimed", None), "key_id", None),
        details={
            "path": redact(request.url.path)[:500],
            "client": getattr(request.state, "client", None),
            **error.details,
        },
    )
