"""How errors look (RFC 9457)."""

from pydantic import BaseModel


class FieldProblem(BaseModel):
    """What is wrong with one part of a request.

    Attributes:
        field: Where, for example `body.mission`.
        message: What, for a person.
    """

    field: str
    message: str


class Problem(BaseModel):
    """Every error looks so; `code` is what to branch on.

    Attributes:
        type: Always `about:blank`: the code says it all.
        title: The status in words.
        status: The HTTP status.
        detail: For a person.
        code: Stable.
        request_id: The request; not in a 404, where the header `X-Request-ID` has it.
        errors: What is wrong where, when the request does not fit.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    errors: list[FieldProblem] | None = None
