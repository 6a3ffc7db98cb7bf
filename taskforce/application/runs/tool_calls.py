"""What a tool call is: its key, its arguments, and what an approval of it binds to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.json_limits import check_document
from taskforce.core.interfaces.llm import RequestedCall


@dataclass(frozen=True, slots=True)
class CallRef:
    """Names one tool call.

    Attributes:
        tenant_id: The tenant.
        run_id: The run.
        step: The step.
        call: The call within it, from 1.
    """

    tenant_id: str
    run_id: str
    step: int
    call: int


def call_payload(call: RequestedCall) -> Mapping[str, object]:
    """What an approver sees and approves: the tool and its exact arguments."""
    return {"tool": call.name, "arguments": arguments_of(call)}


def as_approved(call: RequestedCall, request: Request | None) -> RequestedCall:
    """The call with the arguments that people have approved, which an approver may have edited."""
    if request is None or request.edited is None:
        return call
    return replace(call, arguments=json.dumps(request.edited["arguments"], ensure_ascii=False))


def content_of(call: RequestedCall) -> Mapping[str, object]:
    """A call as the audit log tells of it: what an approval would bind to, or the arguments as they were written."""
    try:
        return call_payload(call)
    except Invalid:
        return {"tool": call.name, "arguments": call.arguments}


def arguments_of(call: RequestedCall) -> Mapping[str, object]:
    """The arguments that the model wrote.

    Raises:
        Invalid: `arguments_malformed`, or what `check_document` refuses.
    """
    try:
        arguments = json.loads(call.arguments or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Invalid("arguments_malformed", "The arguments are not valid JSON; send one JSON object.") from None
    if not isinstance(arguments, dict):
        raise Invalid("arguments_malformed", "The arguments must be one JSON object.")
    check_document(arguments, "arguments")
    return arguments


def _no_constant(name: str) -> object:
    raise ValueError(name)
