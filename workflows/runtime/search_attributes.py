"""Search attributes by which operators find workflows in the Temporal UI. A namespace holds ten Keywords at most."""

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
    """Sets an attribute, or unsets it for None."""
    return key.value_unset() if text is None else key.value_set(text)
