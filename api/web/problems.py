"""Problem documents (RFC 9457) of every error; the one table from kinds of errors to HTTP statuses."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.schemas.problems import FieldProblem
from api.web.denials import note_refusal
from taskforce.application.access.rate_limits import RateLimited
from taskforce.core.domain.errors import DomainError, Kind

STATUSES: Mapping[Kind, int] = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.MISSING: 404,
    Kind.CONFLICT: 409,
    Kind.STALE: 412,
    Kind.LIMITED: 429,
    Kind.UNAVAILABLE: 503,
}
MEDIA_TYPE = "application/problem+json"
MOST_FIELDS = 50

TOO_LARGE = 413
# RFC 9110 has renamed both; Python's names are those of before.
_TITLES = {TOO_LARGE: "Content Too Large", 422: "Unprocessable Content"}
ROUTING = {
    400: ("body_invalid", "The body cannot be read. Send it whole, as JSON in UTF-8."),
    404: ("route_not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take this method."),
}
_OWN = frozenset({"type", "title", "status", "detail", "code", "request_id", "errors"})

_log = structlog.get_logger(__name__)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str | None,
    fields: Sequence[FieldProblem] = (),
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Builds a problem document.

    Args:
        status: The HTTP status.
        code: The stable error code, on which callers branch.
        detail: The message, for a person.
        request_id: The request; left out of a 404, so that a foreign id and a missing one answer byte-identically (the
            header `X-Request-ID` has it always).
        fields: The problem of each field.
        details: Further members; they cannot replace the standard ones.
        headers: Further headers.
    """
    body: dict[str, object] = {
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    # Another tenant's id and a made-up one are answered byte for byte alike.
    if request_id is not None and status != HTTPStatus.NOT_FOUND:
        body["request_id"] = request_id
    if fields:
        body["errors"] = [field.model_dump() for field in fields[:MOST_FIELDS]]
    # Details add to the document, and replace none of its own members.
    body |= {name: value for name, value in (details or {}).items() if name not in _OWN}
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def domain_problem(error: DomainError, request_id: str | None) -> Response:
    """Builds the problem document of a domain error."""
    status = STATUSES[error.kind]
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        # Whole seconds (RFC 9110, section 10.2.3), rounded up: an earlier try would be refused again.
        headers["retry-after"] = str(max(0, math.ceil(error.retry_after)))
    if error.kind is Kind.UNAUTHENTICATED:
        # RFC 9110, section 15.5.2, asks for a challenge with each 401.
        headers["www-authenticate"] = "Bearer"
    return problem(status, error.code, error.message, request_id=request_id, details=error.details, headers=headers)


def too_large(most: int, request_id: str | None) -> Response:
    """Builds the response to a body beyond the size limit: 413."""
    return problem(TOO_LARGE, "body_too_large", f"A body may have at most {most} bytes.", request_id=request_id)


def unsupported(request_id: str | None) -> Response:
    """Builds the response to a body whose `Content-Type` is not JSON: 415."""
    detail = "Send a JSON body with the header Content-Type: application/json."
    return problem(415, "content_type_unsupported", detail, request_id=request_id)


def unexpected(request_id: str | None) -> Response:
    """Builds the response to an unexpected exception: 500, with the cause in the log only."""
    detail = "Something went wrong here; the log knows more under this request's id."
    return problem(500, "internal_error", detail, request_id=request_id)


def install(app: FastAPI) -> None:
    """Registers exception handlers that answer every error as a problem document."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_routing_error)


def request_id_of(request: Request) -> str | None:
    """Returns the id that the middleware assigned to the request."""
    return getattr(request.state, "request_id", None)


async def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return await answer_failure(request, error)


async def answer_failure(request: Request, error: DomainError) -> Response:
    """Answers a domain error with its problem document, and an audit event where the audit log must show it."""
    if error.kind is Kind.UNAVAILABLE:
        _log.warning("http.unavailable", code=error.code, detail=error.message)
    if isinstance(error, RateLimited):
        request.state.rate_headers = error.headers
    await note_refusal(request, error)
    return domain_problem(error, request_id_of(request))


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [
        FieldProblem(field=".".join(str(part) for part in one["loc"])[:200], message=str(one["msg"])[:500])
        # The list is cut: there can be as many errors as the body has values.
        for one in error.errors()[:MOST_FIELDS]
    ]
    detail = "The request does not fit; `errors` says where."
    return problem(422, "request_invalid", detail, request_id=request_id_of(request), fields=fields)


async def _on_routing_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, detail = ROUTING.get(
        error.status_code, ("request_refused", "This is not served here. /openapi.json says which requests are.")
    )
    return problem(error.status_code, code, detail, request_id=request_id_of(request), headers=error.headers)
