"""Registry of request handlers; a new request type is registered here."""

from taskforce.application.approval_handlers.agent_publication import AgentPublicationHandler
from taskforce.application.approval_handlers.budget_raise import BudgetRaiseHandler
from taskforce.application.approval_handlers.data_export import DataExportHandler
from taskforce.application.approval_handlers.permission_escalation import PermissionEscalationHandler
from taskforce.application.approvals.handler import TOOL_CALL, RequestHandler, ToolCalls
from taskforce.application.catalog.publishing import AGENT_PUBLISH
from taskforce.core.domain.approvals.definitions import BUDGET_RAISE, DATA_EXPORT, PERMISSION_ESCALATION
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.resource_roles import DeploymentNames
from taskforce.core.interfaces.tools import ToolRunner


def all_handlers(
    rules: AccessRules, tools: ToolRunner | None = None, named: DeploymentNames | None = None
) -> dict[str, RequestHandler]:
    """Returns the handlers by request type; other types have `DefaultHandler`.

    Args:
        rules: The deployment's access rules.
        tools: The deployment's tools; None in a process that neither runs calls nor edits them.
        named: The agents and tools that the deployment names; None in a process that does not know them.
    """
    handlers: dict[str, RequestHandler] = {
        AGENT_PUBLISH: AgentPublicationHandler(rules),
        PERMISSION_ESCALATION: PermissionEscalationHandler(rules, named),
        DATA_EXPORT: DataExportHandler(rules),
        BUDGET_RAISE: BudgetRaiseHandler(rules),
    }
    return handlers if tools is None else {**handlers, TOOL_CALL: ToolCalls(tools)}
