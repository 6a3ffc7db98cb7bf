"""Tool calls: their reference, their arguments, and the payload that an approval binds to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.json_limits import check_document
from taskforce.core.interfaces.llm import RequestedCall


@dataclass(frozen=True, slots=True)
class CallRef:
    """Reference to a tool call.

    Attributes:
        tenant_id: The tenant.
        run_id: The run.
        step: The step, from 1.
        call: The call within the step, from 1.
    """

    tenant_id: str
    run_id: str
    step: int
    call: int


def call_payload(call: RequestedCall) -> Mapping[str, object]:
    """Returns what an approver sees and approves: the tool and its exact arguments.

    Raises:
        Invalid: As `arguments_of`.
    """
    return {"tool": call.name, "arguments": arguments_of(call)}


def as_approved(call: RequestedCall, request: Request | None) -> RequestedCall:
    """Returns the call with the arguments that were approved, which an approver may have edited."""
    if request is None or request.edited is None:
        return call
    return replace(call, arguments=json.dumps(request.edited["arguments"], ensure_ascii=False))


def content_of(call: RequestedCall) -> Mapping[str, object]:
    """Returns a call for the audit log: its payload, or the model's own text of arguments that do not parse."""
    try:
        return call_payload(call)
    except Invalid:
        return {"tool": call.name, "arguments": call.arguments}


def arguments_of(call: RequestedCall) -> Mapping[str, object]:
    """Parses the arguments that the model wrote.

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
    # Python's parser takes NaN and Infinity, which are no JSON: PostgreSQL and other languages refuse them.
    raise ValueError(name)
