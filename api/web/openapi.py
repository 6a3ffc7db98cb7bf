"""The OpenAPI document as FastAPI makes it, with problem documents (RFC 9457) in place of FastAPI's errors."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.schemas.problems import FieldProblem, Problem
from api.web.problems import MEDIA_TYPE

_PROBLEM = {
    "description": "What went wrong; branch on `code`",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_REPLACED = ("HTTPValidationError", "ValidationError")


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
