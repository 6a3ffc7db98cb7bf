"""The names under which a run stands in the process's log, as the guide gives them (7.1); no content goes there."""

from taskforce.core.domain.runs.run import RunSpec

STARTED = "agent.execution.started"
COMPLETED = "agent.execution.completed"
TOOL_EXECUTED = "tool.executed"


def log_context(brief: RunSpec) -> dict[str, str]:
    """Whose line it is: what every line of a run is bound to."""
    return {
        "tenant_id": brief.tenant_id,
        "user_id": brief.user_id,
        "session_id": brief.session_id,
        "agent_id": brief.agent.agent_id,
        "run_id": brief.run_id,
    }
