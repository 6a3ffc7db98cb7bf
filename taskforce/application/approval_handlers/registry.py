"""The subjects of the types of which the product knows what follows; a new kind of request is registered here."""

from taskforce.application.approval_handlers.agent_publication import Publications
from taskforce.application.approval_handlers.budget_raise import Raises
from taskforce.application.approval_handlers.data_export import Exports
from taskforce.application.approval_handlers.role_escalation import Escalations
from taskforce.application.approvals.handler import TOOL_CALL, Subject, ToolCalls
from taskforce.application.catalog.publishing import AGENT_PUBLISH
from taskforce.core.domain.approvals.definitions import BUDGET_RAISE, DATA_EXPORT, PERMISSION_ESCALATION
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.interfaces.tools import ToolRunner


def all_subjects(rules: AccessRules, tools: ToolRunner | None = None) -> dict[str, Subject]:
    """What requests are about, by their type.

    Args:
        rules: What the deployment says about rights.
        tools: The tools there are; None where none is called, and no call edited.
    """
    subjects: dict[str, Subject] = {
        AGENT_PUBLISH: Publications(rules),
        PERMISSION_ESCALATION: Escalations(rules),
        DATA_EXPORT: Exports(rules),
        BUDGET_RAISE: Raises(rules),
    }
    return subjects if tools is None else {**subjects, TOOL_CALL: ToolCalls(tools)}
