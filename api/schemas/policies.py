"""Policy documents and dry runs in requests and responses."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    model_validator,
)

from api.schemas.fields import Document
from api.schemas.request_body import RequestBody
from taskforce.application.access.policy_documents import AccessCase, DryRunAnswer
from taskforce.application.access.policy_engine import MAX_CASES
from taskforce.core.domain.access.policies import Base, Effect, Explained
from taskforce.core.domain.access.policy_documents import VERSION
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.repositories.access import PolicyVersion

_YEARS = range(1970, 3000)


def _text(at: object) -> object:
    if isinstance(at, str):
        return at
    raise ValueError("a time is a text such as 2026-01-17T22:30:00+01:00")


def _near(at: datetime) -> datetime:
    # The first and the last days of the calendar overflow when they are converted to another time zone.
    if at.year in _YEARS:
        return at
    raise ValueError(f"a time is in the years {_YEARS[0]} to {_YEARS[-1]}")


Text = Annotated[str, Field(min_length=1, max_length=256)]
Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text), AfterValidator(_near)]


class ResourceIn(RequestBody):
    """The resource of a case.

    Attributes:
        type: Its kind.
        id: Its id; left out, all resources of the kind, or one that is still to be created.
        tags: Its tags, to try others than the stored ones.
    """

    type: Annotated[ResourceType, Field(strict=False)]
    id: Text | None = None
    tags: Annotated[list[Text], Field(max_length=100)] | None = None


class CaseIn(RequestBody):
    """A case to decide: may this user, or somebody with these roles, do this action on that resource?

    Attributes:
        user_id: A user of the tenant, with the present roles, also on single resources, permissions and attributes; in
            place of `roles`.
        key_id: The API key of that user by which the request comes; left out, it comes by a token.
        roles: The roles of a hypothetical user; in place of `user_id`.
        attributes: With `roles` the attributes of that user, for conditions on `user.*`. With `user_id` those that the
            token at hand claims: the policy must allow the action with these and with the ones of the newest token;
            left out, the token is the newest one.
        action: The permission that the action requires.
        resource: The resource of the action.
        context: Facts about the request, for conditions on `context.*`. For a tool, `agent_id` is the id of the agent
            in whose run it is called; a role on that agent counts then, and `channel` is `run`.
        at: The time of the action, with a time zone; left out, now.
    """

    user_id: Text | None = None
    key_id: Text | None = None
    roles: Annotated[list[Text], Field(max_length=100)] | None = None
    attributes: Document | None = None
    action: Annotated[Permission, Field(strict=False)]
    resource: ResourceIn
    context: Document = Field(default_factory=dict)
    at: Time | None = None

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.user_id is None) is (self.roles is None):
            raise ValueError("name user_id or roles, one of them")
        if self.key_id is not None and (self.user_id is None or self.attributes is not None):
            raise ValueError("key_id belongs to user_id, without attributes: a key has those of the newest token")
        return self

    def asked(self) -> AccessCase:
        """Returns the case as the policy engine takes it."""
        return AccessCase(
            action=self.action,
            resource_type=self.resource.type,
            resource_id=self.resource.id,
            tags=self.resource.tags,
            user_id=self.user_id,
            key_id=self.key_id,
            roles=frozenset(self.roles or ()),
            attributes=self.attributes,
            context=self.context,
            at=self.at,
        )


class DryRunIn(RequestBody):
    """Cases, and the document to try with them.

    Attributes:
        document: The whole document; left out, only the answers of now are explained.
        cases: The cases to decide.
    """

    document: Document | None = None
    cases: Annotated[list[CaseIn], Field(min_length=1, max_length=MAX_CASES)]


class PolicyOut(BaseModel):
    """A tenant's policy document.

    Attributes:
        document: The document.
        version: Its version; 0 for the empty document of a tenant that saved none.
        saved_by: The user who saved it; null for version 0.
        at: The time at which it was saved; null for version 0.
    """

    document: Mapping[str, object]
    version: int
    saved_by: str | None
    at: datetime | None


class RuleOutcomeOut(BaseModel):
    """The outcome of one rule of the document for a case, and why."""

    rule_id: str
    effect: Effect
    applies: bool
    reason: str


class ExplainedOut(BaseModel):
    """A decision with its explanation.

    Attributes:
        allowed: Whether the action is allowed.
        reason: The reason of the decision.
        base: The decision before any rule: the permission is held or missing, or the resource is another tenant's.
        rules: Every rule of the document, in its order.
    """

    allowed: bool
    reason: str
    base: Base
    rules: list[RuleOutcomeOut]


class TriedOut(BaseModel):
    """The decisions of one case.

    Attributes:
        current: The decision by the document in force.
        proposed: The decision by the proposed document; null without one.
        changes: Whether saving the proposed document would change the decision.
    """

    current: ExplainedOut
    proposed: ExplainedOut | None
    changes: bool


def policy_out(found: PolicyVersion | None) -> PolicyOut:
    """Renders a policy document."""
    if found is None:
        empty = {"version": VERSION, "rules": []}
        return PolicyOut.model_construct(document=empty, version=0, saved_by=None, at=None)
    return PolicyOut.model_construct(
        document=found.document, version=found.version, saved_by=found.saved_by, at=found.at
    )


def dry_run_out(answer: DryRunAnswer) -> TriedOut:
    """Renders the decisions of a dry run."""
    proposed = answer.proposed
    changes = proposed is not None and proposed.decision.allowed is not answer.current.decision.allowed
    return TriedOut.model_construct(
        current=_explained(answer.current),
        proposed=None if proposed is None else _explained(proposed),
        changes=changes,
    )


def _explained(explained: Explained) -> ExplainedOut:
    rules = [
        RuleOutcomeOut.model_construct(rule_id=one.rule_id, effect=one.effect, applies=one.applies, reason=one.reason)
        for one in explained.rules
    ]
    decision = explained.decision
    return ExplainedOut.model_construct(
        allowed=decision.allowed, reason=decision.reason, base=explained.base, rules=rules
    )
