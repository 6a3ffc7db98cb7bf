"""Agents and versions of the catalog in requests and responses."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from api.schemas.fields import Document, UserId
from api.schemas.request_body import RequestBody
from taskforce.application.catalog.versions import InFlight
from taskforce.core.domain.catalog.agent import LONGEST_LABEL, LONGEST_TEXT, MOST_TAGS, Agent
from taskforce.core.domain.catalog.definition import Problem, require_few_values
from taskforce.core.domain.catalog.definition_diff import ChangeKind, DefinitionChange
from taskforce.core.domain.catalog.version import LONGEST_CHANGELOG, LONGEST_COMMENT, AgentVersion, VersionStatus
from taskforce.core.interfaces.repositories.catalog import AgentSummary

Name = Annotated[str, Field(min_length=1, max_length=100)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Label = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL)]
Tags = Annotated[list[Label], Field(max_length=MOST_TAGS)]


def _few_values(value: object) -> object:
    require_few_values(value)
    return value


# Counted first: each value costs many times more to check than to parse.
DefinitionDocument = Annotated[Document, BeforeValidator(_few_values)]
Number = Annotated[str, Field(min_length=5, max_length=64)]
Changelog = Annotated[str, Field(max_length=LONGEST_CHANGELOG)]
Comment = Annotated[str, Field(max_length=LONGEST_COMMENT)]


_DEFINED = frozenset({"definition", "initial_definition"})


class CloneIn(RequestBody):
    """A clone of an agent; what is left out is taken from the original, except that the caller is the owner.

    Attributes:
        name: A name for people.
        slug: The name in URLs; derived from `name` when left out.
        category: The category; an empty one removes it.
    """

    name: Name
    slug: Slug | None = None
    description: Text | None = None
    category: Annotated[str, Field(max_length=LONGEST_LABEL)] | None = None
    tags: Tags | None = None
    owner_id: UserId | None = None


class AgentIn(CloneIn):
    """A new agent; its first version is a draft with the number 0.1.0.

    Attributes:
        name: A name for people.
        slug: The name in URLs; derived from `name` when left out.
        owner_id: The user who is responsible for it; the caller when left out.
        definition: The agent's definition. A draft takes any; its `problems` say what keeps it from being submitted.
        initial_definition: The same, by the name that Python's `create_agent` has for it.
    """

    definition: DefinitionDocument = Field(default_factory=dict)
    initial_definition: DefinitionDocument = Field(
        default_factory=dict, description="The same as `definition`; give one of them."
    )

    @model_validator(mode="after")
    def _one_definition(self) -> Self:
        # Compared as JSON: for Python 1 and true are equal.
        given = [json.dumps(getattr(self, name), sort_keys=True) for name in _DEFINED & self.model_fields_set]
        if len(set(given)) > 1:
            raise ValueError("`definition` and `initial_definition` are the same; give one of them")
        return self

    @property
    def defined(self) -> DefinitionDocument:
        """Returns the definition, from whichever of its two members was sent."""
        return self.definition if "definition" in self.model_fields_set else self.initial_definition


class AgentChangeIn(RequestBody):
    """Changes of an agent; what is left out stays as it is, and an empty category removes it."""

    name: Name | None = None
    slug: Slug | None = None
    description: Text | None = None
    category: Annotated[str, Field(max_length=LONGEST_LABEL)] | None = None
    tags: Tags | None = None
    owner_id: UserId | None = None


class VersionIn(RequestBody):
    """A new version, as a draft.

    Attributes:
        version_number: A number of Semantic Versioning that the agent does not have yet.
    """

    version_number: Number
    definition: DefinitionDocument
    changelog: Changelog = ""


class VersionChangeIn(RequestBody):
    """Changes of a draft; what is left out stays as it is."""

    version_number: Number | None = None
    definition: DefinitionDocument | None = None
    changelog: Changelog | None = None


class VersionCommentIn(RequestBody):
    """A comment on a transition of a version."""

    comment: Comment = ""


class VerdictIn(VersionCommentIn):
    """A decision on a version.

    Attributes:
        config_hash: The hash of the version as it was shown; a decision on other content is refused.
    """

    config_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class RollbackIn(VersionCommentIn):
    """A rollback to an earlier version.

    Attributes:
        version: Id or number of a published version; left out, the one that was published before the current one.
    """

    version: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class RetirementIn(RequestBody):
    """A deprecation or archival of a version.

    Attributes:
        in_flight: The treatment of its open runs: `finish` and `drain` let them go on, `cancel` cancels them. After
            `finish` a deprecated version can still be started by its number; with `drain` a version with open runs is
            not archived.
        release: Remove the aliases that point to it, and leave the agent without a current version if need be.
        comment: The reason.
    """

    in_flight: Annotated[InFlight, Field(strict=False)] = InFlight.FINISH
    release: bool = False
    comment: Comment = ""


class AliasIn(RequestBody):
    """The target of an alias: id or number of a published version."""

    version: Annotated[str, Field(min_length=1, max_length=64)]


class ProblemOut(BaseModel):
    """A problem of a definition, with its place."""

    path: str
    problem: str


class TransitionOut(BaseModel):
    """A transition between two states of a version."""

    was: VersionStatus
    now: VersionStatus
    by: str
    at: datetime
    comment: str


class VersionListedOut(BaseModel):
    """A version in a list, without its definition.

    Attributes:
        allowed: The states that it can change to.
        draining: Whether new runs of it are refused while open ones finish.
        request_id: The id of its latest publication request.
        config_hash: SHA-256 over its definition's canonical JSON (RFC 8785).
    """

    version_id: str
    version_number: str
    status: VersionStatus
    allowed: list[VersionStatus]
    changelog: str
    config_hash: str
    draining: bool
    request_id: str | None
    created_by: str
    created_at: datetime


class VersionOut(VersionListedOut):
    """A version with its definition.

    Attributes:
        problems: What keeps a draft from being submitted; empty for all else.
        transitions: Its transitions, oldest first.
    """

    agent_id: str
    definition: Mapping[str, object]
    problems: list[ProblemOut]
    transitions: list[TransitionOut]


class AgentListedOut(BaseModel):
    """An agent in a list.

    Attributes:
        current_version: The number of the version that runs when nobody names one.
        latest_version: The highest number that it has.
        rank: How well it matches the search query; 0 without one.
    """

    agent_id: str
    slug: str
    name: str
    description: str
    category: str | None
    tags: list[str]
    owner_id: str
    current_version: str | None
    latest_version: str
    latest_status: VersionStatus
    created_at: datetime
    updated_at: datetime
    revision: int
    rank: float


class AgentOut(BaseModel):
    """An agent with its versions, the highest first.

    Attributes:
        current_version: The number of the version that runs when nobody names one.
        aliases: Its aliases, each with the number of the version that it points to.
    """

    agent_id: str
    slug: str
    name: str
    description: str
    category: str | None
    tags: list[str]
    owner_id: str
    current_version: str | None
    aliases: dict[str, str]
    versions: list[VersionListedOut]
    created_at: datetime
    updated_at: datetime
    revision: int


class RetiredOut(BaseModel):
    """A version that was deprecated or archived.

    Attributes:
        open_runs: Open runs of it at that moment.
        cancelled_runs: The number of those for which cancellation was requested.
    """

    version: VersionOut
    open_runs: int
    cancelled_runs: int


class ChangeOut(BaseModel):
    """One difference between two definitions; `path` is a JSON pointer (RFC 6901)."""

    path: str
    kind: ChangeKind
    before: object
    after: object


class DiffOut(BaseModel):
    """The differences between two versions."""

    before: VersionListedOut
    after: VersionListedOut
    changes: list[ChangeOut]


def agent_out(agent: Agent) -> AgentOut:
    """Renders an agent."""
    about = agent.about
    return AgentOut.model_construct(
        agent_id=agent.agent_id,
        slug=about.slug,
        name=about.name,
        description=about.description,
        category=about.category,
        tags=sorted(about.tags),
        owner_id=about.owner_id,
        current_version=None if agent.current is None else agent.current.version_number,
        aliases={name: agent.version(target).version_number for name, target in sorted(agent.aliases.items())},
        versions=[version_listed(one) for one in agent.ordered()],
        created_at=agent.created_at,
        updated_at=agent.updated_at,
        revision=agent.revision,
    )


def agent_summary_out(found: AgentSummary) -> AgentListedOut:
    """Renders an agent for a list."""
    about = found.about
    return AgentListedOut.model_construct(
        agent_id=found.agent_id,
        slug=about.slug,
        name=about.name,
        description=about.description,
        category=about.category,
        tags=sorted(about.tags),
        owner_id=about.owner_id,
        current_version=found.current_number,
        latest_version=found.latest_number,
        latest_status=found.latest_status,
        created_at=found.created_at,
        updated_at=found.updated_at,
        revision=found.revision,
        rank=found.rank,
    )


def version_listed(version: AgentVersion) -> VersionListedOut:
    """Renders a version for a list."""
    return VersionListedOut.model_construct(
        version_id=version.version_id,
        version_number=version.version_number,
        status=version.status,
        allowed=list(version.allowed),
        changelog=version.changelog,
        config_hash=version.config_hash,
        draining=version.draining,
        request_id=version.request_id,
        created_by=version.created_by,
        created_at=version.created_at,
    )


def version_out(agent: Agent, version: AgentVersion, problems: Iterable[Problem]) -> VersionOut:
    """Renders a version.

    Args:
        agent: Its agent.
        version: The version.
        problems: What keeps it from being submitted.
    """
    return VersionOut.model_construct(
        **version_listed(version).__dict__,
        agent_id=agent.agent_id,
        definition=version.definition,
        problems=[ProblemOut.model_construct(path=one.path, problem=one.problem) for one in problems],
        transitions=[
            TransitionOut.model_construct(was=one.was, now=one.now, by=one.by, at=one.at, comment=one.comment)
            for one in version.transitions
        ],
    )


def change_out(change: DefinitionChange) -> ChangeOut:
    """Renders a difference."""
    return ChangeOut.model_construct(path=change.path, kind=change.kind, before=change.before, after=change.after)
