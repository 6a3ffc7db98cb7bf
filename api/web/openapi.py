"""The OpenAPI document as FastAPI makes it, with problem documents (RFC 9457) in place of FastAPI's errors."""

import hashlib
from dataclasses import dataclass
from typing import Any, Self

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from api.schemas.problems import FieldProblem, Problem
from api.web.headers import tags_of
from api.web.problems import MEDIA_TYPE

_PROBLEM = {
    "description": "What went wrong; branch on `code`",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_REPLACED = ("HTTPValidationError", "ValidationError")


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """Holds a JSON document as the bytes that are sent, so that nobody can make the process encode it.

    Attributes:
        body: The bytes.
        etag: The entity tag, a strong one.
    """

    body: bytes
    etag: str

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Encodes a document."""
        body = bytes(JSONResponse(document).body)
        return cls(body, f'"{hashlib.sha256(body).hexdigest()}"')

    def response(self, request: Request) -> Response:
        """Returns the document, or 304 to a client that has it already."""
        # `no-cache` lets clients keep it, and has them ask by its tag whether it is still the same (RFC 9111, 5.2.2.4).
        headers = {"etag": self.etag, "cache-control": "no-cache"}
        if {self.etag, "*"} & set(tags_of(request.headers.get("if-none-match", ""))):
            return Response(status_code=304, headers=headers)
        return Response(self.body, media_type="application/json", headers=headers)


def describe(app: FastAPI) -> dict[str, Any]:
    """Builds the OpenAPI document once, and caches it on the application.

    Args:
        app: The application with all its routes.
    """
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in _REPLACED:
            schemas.pop(name, None)
        for model in (FieldProblem, Problem):
            schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas[model.__name__].pop("$defs", None)
        for operations in document["paths"].values():
            for operation in operations.values():
                # FastAPI announces its own form of it, which no route of ours answers.
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM
        app.openapi_schema = document
    return app.openapi_schema
