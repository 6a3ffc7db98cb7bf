"""Usage records: what the effects of a run have used, one record an effect."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.metering.prices import Charge, PriceBook, Resource, model_charge, unit_charge
from taskforce.core.domain.metering.tokens import NO_TOKENS, TokenCounts
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.interfaces.llm import Estimate, ModelCall


class UsageKind(StrEnum):
    """The kind of effect that a usage record is of."""

    MODEL = "model"
    TOOL = "tool"
    RUN = "run"
    """An agent's execution: a run that has begun."""
    EMBEDDING = "embedding"
    RAG_QUERY = "rag_query"


@dataclass(frozen=True, slots=True)
class ToolResource:
    """The use of a model or an index by a tool call, besides its own execution.

    Attributes:
        kind: `embedding` or `rag_query`.
        model: LiteLLM name of the model, if one was called.
        provider: The model's provider, if known.
        tokens: Its tokens.
        estimated: As in `ModelCall`.
        duration_ms: Duration, in milliseconds.
    """

    kind: UsageKind
    model: str | None = None
    provider: str | None = None
    tokens: TokenCounts = NO_TOKENS
    estimated: Estimate | None = None
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """The usage of an effect: its key, and model calls, a tool call, or neither for the beginning of a run.

    Attributes:
        run_id: The run.
        step: Its step; 0 for the beginning of the run.
        call: 0 for the model, n for the n-th tool call.
        attempt: Temporal's attempt, from 1.
        user_id: The user on whose behalf the run acts.
        agent_id: The agent.
        at: Time of recording, UTC.
        calls: The model calls of the attempt.
        tool: Name of the tool, for a tool call.
        duration_ms: Duration of the tool call, in milliseconds.
        failed: Error code of a tool call that failed.
        resources: What the tool call has used besides; a record each.
        session_id: The run's session.
        agent_version: Number of the agent's catalog version; None for the agent of a profile.
        attribution: To whom it is charged.
        charges: What each of its records costs, in their order: the run or the tool, then what the tool has used, or
            the model calls. None where a price is not known; empty before the entry is priced.
    """

    run_id: str
    step: int
    call: int
    attempt: int
    user_id: str
    agent_id: str
    at: datetime
    calls: tuple[ModelCall, ...] = ()
    tool: str | None = None
    duration_ms: int = 0
    failed: str | None = None
    resources: tuple[ToolResource, ...] = ()
    session_id: str | None = None
    agent_version: str | None = None
    attribution: Attribution = field(default_factory=Attribution)
    charges: tuple[Charge | None, ...] = ()

    @classmethod
    def of_run(cls, spec: RunSpec, at: datetime, *, step: int = 0, call: int = 0, attempt: int = 1) -> "UsageEntry":
        """Returns an entry of a run, with its attribution and without usage; of its beginning, where no step is named.

        Args:
            spec: The run.
            at: Time of recording, UTC.
            step: The step.
            call: The call of the step; 0 for the model.
            attempt: Temporal's attempt.
        """
        return cls(
            run_id=spec.run_id,
            step=step,
            call=call,
            attempt=attempt,
            user_id=spec.user_id,
            agent_id=spec.agent.agent_id,
            at=at,
            session_id=spec.session_id,
            agent_version=None if spec.agent.pinned is None else spec.agent.pinned.version_number,
            attribution=spec.attribution,
        )

    @property
    def tokens(self) -> int:
        """Returns the tokens of all of its model calls, those of a tool call among them."""
        counted = [*(call.tokens for call in self.calls), *(used.tokens for used in self.resources)]
        return sum(one.total for one in counted)

    def priced(self, book: PriceBook) -> "UsageEntry":
        """Returns it with what each of its records costs by the prices of the time of recording.

        Args:
            book: The tenant's prices.
        """
        charges: list[Charge | None] = []
        if self.step == 0:
            charges.append(unit_charge(book, Resource.AGENT_EXECUTION, self.agent_id, self.at))
        elif self.tool is not None:
            charges.append(unit_charge(book, Resource.TOOL, self.tool, self.at))
            charges += [_resource_charge(book, used, self.at) for used in self.resources]
        charges += [model_charge(book, call.model, call.tokens, self.at) for call in self.calls]
        return replace(self, charges=tuple(charges))


def _resource_charge(book: PriceBook, used: ToolResource, at: datetime) -> Charge | None:
    if used.kind is UsageKind.RAG_QUERY:
        return unit_charge(book, Resource.RAG_QUERY, "", at)
    return None if used.model is None else model_charge(book, used.model, used.tokens, at)


@dataclass(frozen=True, slots=True)
class StepUsage:
    """The model's usage in one step, all attempts together.

    Attributes:
        step: The step.
        tokens: The tokens of all calls.
        wasted_tokens: Tokens of calls without a usable reply.
        estimated_tokens: Tokens of calls whose provider has not counted all of them.
        models: LiteLLM names of the called models, in alphabetical order.
    """

    step: int
    tokens: TokenCounts = NO_TOKENS
    wasted_tokens: int = 0
    estimated_tokens: int = 0
    models: tuple[str, ...] = ()
