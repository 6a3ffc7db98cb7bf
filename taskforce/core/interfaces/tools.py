"""Specifications of tools, their context while they run, and the protocol of the tool runner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class ToolKind(StrEnum):
    """A kind of tools, which follows from what a tool declares."""

    EFFECT = "effect"
    OUTSIDE = "outside"
    QUESTION = "question"


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """The facts of a tool by which approval definitions select it.

    Attributes:
        name: Its name.
        tags: Its tags.
        kinds: Its kinds.
    """

    name: str
    tags: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """The specification of a tool.

    Attributes:
        name: Its name for the model, `[a-z][a-z0-9_]{0,63}`.
        description: Description for the model; the first paragraphs of the function's docstring.
        parameters: JSON Schema (draft 2020-12) of its arguments, an object with `additionalProperties: false`.
        idempotent: Running it twice with the same arguments has the effect of running it once. Any other is never run
            again after a crash: the model is told that its outcome is unknown.
        quick: It runs in-process in milliseconds without outside effects; it is run as a local activity.
        needs_approval: Each call needs an approval, whatever the agent's definition says.
        asks_person: The workflow waits for a person's answer before it runs the tool.
        timeout_seconds: Timeout of one attempt, in seconds.
        feature: The tenant's feature without which it is neither offered nor run; None needs none.
        tags: Words by which approval definitions select it, such as `files`, `network`, `write`.
    """

    name: str
    description: str
    parameters: Mapping[str, object]
    idempotent: bool = False
    quick: bool = False
    needs_approval: bool = False
    asks_person: bool = False
    timeout_seconds: float = 30.0
    feature: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def facts(self) -> ToolFacts:
        """Returns the facts of the tool for approval definitions."""
        declared = {
            ToolKind.EFFECT: not self.idempotent,
            ToolKind.OUTSIDE: not self.quick,
            ToolKind.QUESTION: self.asks_person,
        }
        kinds = frozenset(kind.value for kind, holds in declared.items() if holds)
        return ToolFacts(self.name, frozenset(self.tags), kinds)


class ToolFailure(Exception):
    """Raised by a tool for a failure that the model can act on; its text is shown to the model."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a workspace, without its content."""

    path: str
    size: int
    updated_at: datetime


class Workspace(Protocol):
    """The files of one run. They are rows, not a file system, so no path can lead out."""

    async def read(self, path: str) -> bytes:
        """Returns a file's content. Raises ToolFailure when it does not exist."""
        ...

    async def write(self, path: str, content: bytes) -> None:
        """Creates or replaces a file. Raises ToolFailure when the path or the size is not acceptable."""
        ...

    async def files(self) -> tuple[StoredFile, ...]:
        """Returns the files, ordered by path."""
        ...


class Results(Protocol):
    """The whole results of earlier calls of the same run, where the transcript shows a part."""

    async def read(self, step: int, call: int, offset: int, length: int) -> str:
        """Returns characters `offset` to `offset + length` of a result. Raises ToolFailure when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The response to an outbound request.

    Attributes:
        status: HTTP status code.
        headers: Response headers, names in lower case.
        body: Decoded text, cut at the client's limit.
        truncated: Whether the body was cut.
        url: The URL that answered, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: str
    truncated: bool
    url: str


class OutboundHttp(Protocol):
    """The outbound HTTP client for tools; it refuses addresses that are not public (SSRF)."""

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpReply:
        """Sends a request.

        Raises:
            ToolFailure: The address is refused, or the server did not answer.
        """
        ...


class TenantHttp(Protocol):
    """The outbound HTTP clients of tenants, each of which has a share of what the process has."""

    def of(self, tenant_id: str) -> OutboundHttp:
        """Returns a tenant's client."""
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The context of one tool call; its rights were checked before.

    Attributes:
        tenant_id: The run's tenant.
        user_id: The user on whose behalf the run acts.
        run_id: The run.
        effect_key: `<run>/<step>/<call>`, for receivers that honour idempotency keys.
        now: Time of the attempt, UTC.
        workspace: The run's files.
        results: Whole results of earlier calls.
        http: The outbound HTTP client.
        words: A person's answers, for a tool that asks a person.
    """

    tenant_id: str
    user_id: str
    run_id: str
    effect_key: str
    now: datetime
    workspace: Workspace
    results: Results
    http: OutboundHttp
    words: tuple[str, ...] = field(default=())


class ToolRunner(Protocol):
    """The protocol of the tool registry."""

    def specs(self) -> Mapping[str, ToolSpec]:
        """Returns the specifications of all tools by name."""
        ...

    def problems(self, name: str, arguments: object) -> tuple[str, ...]:
        """Validates arguments against the tool's JSON Schema.

        Returns:
            One sentence for each problem, with its path; empty for valid arguments.
        """
        ...

    async def run(self, name: str, arguments: Mapping[str, object], context: ToolContext) -> object:
        """Runs the tool.

        Returns:
            A string, a `TodoList`, or anything that JSON can carry.

        Raises:
            ToolFailure: The tool failed; its text is for the model.
        """
        ...
