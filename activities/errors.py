"""The mapping of domain errors to Temporal failures, applied to every activity by an interceptor."""

import asyncio
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.work import worked_ms
from taskforce.core.domain.access.fair_shares import TENANT_BUSY
from taskforce.core.domain.errors import MAY_PASS, DomainError
from taskforce.core.domain.metering.budget_ledgers import BUDGET_EXCEEDED, BUDGET_FULL
from taskforce.core.domain.runs.kill_switches import HALTED
from taskforce.core.domain.runs.model_retry import WORKER_SHUTDOWN
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey

INTERNAL = "internal"
# Refused again and again, as it should be: that is no line of the log.
_EXPECTED = frozenset({HALTED, TENANT_BUSY, BUDGET_EXCEEDED, BUDGET_FULL})
# Of these the workflow needs the details, which hold ids and amounts and no content.
_TOLD = frozenset({BUDGET_EXCEEDED})

_log = structlog.get_logger(__name__)


def to_failure(error: DomainError) -> ApplicationError:
    """Maps a domain error to a Temporal failure.

    Args:
        error: The domain's error.

    Returns:
        A failure whose type is the error's code, and whose details are its kind and the milliseconds that the activity
        has worked, of an exceeded budget also its details; retryable by kind, after the error's `retry_after` where it
        has one.
    """
    # A duplicate key means that another attempt of the same activity committed first: a retry finds its result.
    may_pass = error.kind in MAY_PASS or isinstance(error, DuplicateKey)
    return ApplicationError(
        error.message,
        error.kind.value,
        worked_ms(),
        *([dict(error.details)] if error.code in _TOLD else []),
        type=error.code,
        non_retryable=not may_pass,
        category=ApplicationErrorCategory.BENIGN if error.code in _EXPECTED else ApplicationErrorCategory.UNSPECIFIED,
        next_retry_delay=None if error.retry_after is None else timedelta(seconds=error.retry_after),
    )


class FailureInterceptor(Interceptor):
    """Maps the errors of activities. Of an unexpected one only the type enters the history: its text may hold
    secrets.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity with the mapping."""
        return _Mapping(next)


class _Mapping(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        info = activity.info()
        with structlog.contextvars.bound_contextvars(activity=info.activity_type, **_ids(info, input)):
            try:
                return await self.next.execute_activity(input)
            except DomainError as error:
                raise to_failure(error) from None
            # Temporal's own failures pass unchanged: it needs them to tell a cancellation from an error.
            except ApplicationError:
                raise
            except (CancelledError, asyncio.CancelledError):
                if info.is_local or not _is_stopped_with_its_worker():
                    raise
                # As Temporal says it, and besides what the attempt has worked.
                raise ApplicationError(
                    "The worker stopped.",
                    worked_ms(),
                    type=WORKER_SHUTDOWN,
                    category=ApplicationErrorCategory.BENIGN,
                ) from None
            except Exception as error:  # noqa: BLE001 - the one place that meets whatever an activity raises
                _log.exception("activity.failed", attempt=info.attempt)
                raise ApplicationError(
                    f"Unexpected {type(error).__name__}; see the worker's log.", worked_ms(), type=INTERNAL
                ) from None


def _is_stopped_with_its_worker() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.worker_shutdown and not details.cancel_requested


def _ids(info: activity.Info, called: ExecuteActivityInput) -> dict[str, str]:
    message = called.args[0] if called.args else None
    said = {name: getattr(message, name, None) for name in ("tenant_id", "run_id")}
    ids = {"workflow_id": info.workflow_id, **said}
    return {name: value for name, value in ids.items() if isinstance(value, str) and value}
