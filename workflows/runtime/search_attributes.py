"""The search attributes by which operators find runs and requests in the Temporal UI. Ten Keywords are all there is."""

from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

TENANT = SearchAttributeKey.for_keyword("TaskforceTenant")
AGENT = SearchAttributeKey.for_keyword("TaskforceAgent")
USER = SearchAttributeKey.for_keyword("TaskforceUser")
STATUS = SearchAttributeKey.for_keyword("TaskforceStatus")
WAITING_FOR = SearchAttributeKey.for_keyword("TaskforceWaitingFor")
APPROVAL_TYPE = SearchAttributeKey.for_keyword("ApprovalType")
APPROVAL_STATUS = SearchAttributeKey.for_keyword("ApprovalStatus")

ALL = (TENANT, AGENT, USER, STATUS, WAITING_FOR, APPROVAL_TYPE, APPROVAL_STATUS)


def value(key: SearchAttributeKey[str], text: str | None) -> SearchAttributeUpdate[str]:
    """Sets an attribute, or takes it away."""
    return key.value_unset() if text is None else key.value_set(text)
