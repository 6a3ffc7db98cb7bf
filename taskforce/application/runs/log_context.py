"""Event names and fields of runs in the process's log, as the guide gives them (7.1); no content is logged."""

import structlog

from taskforce.core.domain.runs.run import RunSpec

STARTED = "agent.execution.started"
COMPLETED = "agent.execution.completed"
TOOL_EXECUTED = "tool.executed"


def log_context(spec: RunSpec) -> dict[str, str]:
    """Returns the fields that every log line of a run has."""
    return {
        "tenant_id": spec.tenant_id,
        "user_id": spec.user_id,
        "session_id": spec.session_id,
        "agent_id": spec.agent.agent_id,
        "run_id": spec.run_id,
    }


def bind_run(spec: RunSpec) -> None:
    """Adds the fields of a run to every line that this task logs from here on."""
    structlog.contextvars.bind_contextvars(**log_context(spec))
