"""Problem documents (RFC 9457) in responses."""

from pydantic import BaseModel


class FieldProblem(BaseModel):
    """A problem of one part of a request.

    Attributes:
        field: The place, for example `body.mission`.
        message: The problem, for a person.
    """

    field: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457); `code` is what to branch on.

    Attributes:
        type: Always `about:blank`; `code` tells errors apart.
        title: The reason phrase of the status.
        status: The HTTP status.
        detail: The message, for a person.
        code: The stable error code.
        request_id: The id of the request; absent from a 404, where the header `X-Request-ID` has it.
        errors: The problem of each field, when the request does not match the schema.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    errors: list[FieldProblem] | None = None
