"""The mapping of Temporal's client errors to domain errors."""

from collections.abc import Awaitable

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from models.messages.approvals import DecisionOutcome
from taskforce.core.domain.errors import Conflict, DomainError, Unavailable
from taskforce.core.domain.ids import missing


async def carried(update: Awaitable[DecisionOutcome]) -> DecisionOutcome:
    """Awaits the outcome of an update of a request.

    Raises:
        Conflict: The request refuses it; the code says why.
        Missing: `request_not_found` when the request has no workflow.
        Unavailable: `decision_pending` when no worker answers in time, `temporal_unavailable`.
    """
    try:
        return await update
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise Unavailable(
            "decision_pending",
            "No worker has taken this yet; it may still be. Look at the request before you repeat it.",
            retry_after=5,
        ) from error
    except WorkflowUpdateFailedError as error:
        raise _refused(error) from error
    except RPCError as error:
        raise mapped(error, "request") from error


def _refused(error: WorkflowUpdateFailedError) -> DomainError:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type:
        return Conflict(cause.type, cause.message)
    return Conflict("request_closed", "The request has ended; it takes no more decisions.")


def mapped(error: RPCError, what: str) -> DomainError:
    """Maps an RPC error of Temporal.

    Args:
        error: The RPC error.
        what: The noun for `<what>_not_found`.
    """
    if error.status is RPCStatusCode.NOT_FOUND:
        return missing(what)
    return Unavailable(
        "temporal_unavailable", f"Temporal does not answer ({error.status.name.lower()}). Try again.", retry_after=2
    )
