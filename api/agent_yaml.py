"""Import of agents from YAML bodies."""

import asyncio
import json
from collections.abc import Mapping

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.schemas.agents import Changelog, DefinitionDocument, Label, Name, Number, Slug, Tags, Text
from api.web.middleware import YAML_KINDS
from taskforce.application.catalog.agents import NewAgent
from taskforce.application.catalog.versions import NewVersion
from taskforce.core.domain.catalog.agent import labels
from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.agent_yaml import read_document

_ANY = {"schema": {"type": "object"}}
YAML_BODY = {"requestBody": {"required": True, "content": {"application/yaml": _ANY, "application/json": _ANY}}}
"""The request body of the import routes, for the OpenAPI document."""


class AgentFile(BaseModel):
    """Models an agent as `export` writes it; absent keys have a new agent's defaults, `config_hash` is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name | None = None
    slug: Slug | None = None
    description: Text = ""
    category: Label | None = None
    tags: Tags = Field(default_factory=list)
    version: Number | None = None
    changelog: Changelog = ""
    config_hash: str | None = None
    definition: DefinitionDocument = Field(default_factory=dict)


async def read_body(request: Request) -> AgentFile:
    """Parses an agent's file out of a request body.

    Raises:
        Invalid: `yaml_invalid` or `agent_file_invalid`, whose message says where it does not fit.
    """
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    found: Mapping[str, object] | object
    # The largest file takes two seconds to parse, so a thread does it.
    found = await asyncio.to_thread(read_document, body) if kind in YAML_KINDS else json.loads(body or b"{}")
    try:
        return AgentFile.model_validate(found)
    except ValidationError as error:
        where = [".".join(str(part) for part in one["loc"])[:100] + f": {one['msg']}" for one in error.errors()]
        text = f"This is no agent: {'; '.join(where[:20])}."[:2_000]
        raise Invalid("agent_file_invalid", text, details={"problems": where[:20]}) from None


def imported_agent(file: AgentFile) -> NewAgent:
    """Returns the new agent that a file describes.

    Raises:
        Invalid: `agent_file_invalid`: it has no name.
    """
    if file.name is None:
        raise Invalid("agent_file_invalid", "A new agent needs a `name`.")
    return NewAgent(
        name=file.name,
        definition=file.definition,
        slug=file.slug,
        description=file.description,
        category=file.category,
        tags=labels(file.tags),
        changelog=file.changelog,
    )


def imported_version(file: AgentFile) -> NewVersion:
    """Returns the new version that a file describes.

    Raises:
        Invalid: `agent_file_invalid`: it has no `version`.
    """
    if file.version is None:
        raise Invalid("agent_file_invalid", "A new version needs its number, as `version`.")
    return NewVersion(file.version, file.definition, file.changelog)
