"""One version of an agent, and the lifecycle that every version goes through."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.catalog.definition import Definition, Offered, check_definition, problems_of
from taskforce.core.domain.catalog.semver import SemVer
from taskforce.core.domain.errors import Conflict, Invalid

FIRST_NUMBER = "0.1.0"
LONGEST_CHANGELOG = 10_000
LONGEST_COMMENT = 2_000


class VersionStatus(StrEnum):
    """Where a version stands; the guide's states (4.2)."""

    DRAFT = "draft"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    PUBLISHED = "published"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"


ALLOWED: Mapping[VersionStatus, tuple[VersionStatus, ...]] = {
    VersionStatus.DRAFT: (VersionStatus.DRAFT, VersionStatus.PENDING_APPROVAL),
    VersionStatus.PENDING_APPROVAL: (VersionStatus.APPROVED, VersionStatus.DRAFT),
    VersionStatus.APPROVED: (VersionStatus.PUBLISHED,),
    VersionStatus.PUBLISHED: (VersionStatus.DEPRECATED,),
    VersionStatus.DEPRECATED: (VersionStatus.ARCHIVED,),
    VersionStatus.ARCHIVED: (),
}
"""The lines of the guide's picture; that from draft to draft is a revision."""
RUNNABLE = frozenset({VersionStatus.PUBLISHED, VersionStatus.DEPRECATED})
"""In which a version can be started; a deprecated one only by its own number."""


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something to a version, when, and what they say to it.

    Raises:
        Invalid: `comment_too_long`.
    """

    by: str
    at: datetime
    comment: str = ""

    def __post_init__(self) -> None:
        if len(self.comment) > LONGEST_COMMENT:
            raise Invalid("comment_too_long", f"A comment has at most {LONGEST_COMMENT} characters.")


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of a version's life."""

    was: VersionStatus
    now: VersionStatus
    by: str
    at: datetime
    comment: str

    @property
    def is_revision(self) -> bool:
        """Whether a draft was changed, and stayed one."""
        return (self.was, self.now) == (VersionStatus.DRAFT, VersionStatus.DRAFT)


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """A version of an agent; what it defines never changes once it was submitted.

    Attributes:
        version_id: Its id.
        version_number: Its number, as Semantic Versioning writes it.
        definition: What the agent is.
        changelog: What is new, for people.
        created_by: Who made it.
        created_at: When, UTC.
        config_hash: SHA-256 over the definition's canonical JSON.
        status: Where it stands.
        transitions: Each step of its life, oldest first; of revisions in a row the last.
        draining: Whether no new runs are started although it is not archived yet.
        request_id: The request for its publication that was opened last, if any.
    """

    version_id: str
    version_number: str
    definition: Definition = field(hash=False)
    changelog: str
    created_by: str
    created_at: datetime
    config_hash: str
    status: VersionStatus = VersionStatus.DRAFT
    transitions: tuple[Transition, ...] = ()
    draining: bool = False
    request_id: str | None = None

    @classmethod
    def drafted(cls, version_id: str, number: str, definition: Definition, changelog: str, act: Act) -> Self:
        """Makes a draft.

        Raises:
            Invalid: `version_number_invalid`, `definition_malformed`, `definition_too_large` or `changelog_too_long`.
        """
        SemVer.parse(number)
        check_definition(definition)
        said = _checked_changelog(changelog)
        return cls(version_id, number, definition, said, act.by, act.at, canonical_hash(definition))

    @property
    def number(self) -> SemVer:
        """Its number, to be ordered by."""
        return SemVer.parse(self.version_number)

    @property
    def allowed(self) -> tuple[VersionStatus, ...]:
        """Where it can go from here."""
        return ALLOWED[self.status]

    def has_been(self, status: VersionStatus) -> datetime | None:
        """When it came into a status last; None when it never did."""
        return next((one.at for one in reversed(self.transitions) if one.now is status), None)

    def moved(self, to: VersionStatus, act: Act) -> Self:
        """Goes on to another status.

        Raises:
            Conflict: `transition_not_allowed`; its message and `details["allowed"]` name where it can go.
        """
        if to not in self.allowed:
            ways = [status.value for status in self.allowed]
            raise Conflict(
                "transition_not_allowed",
                f"This version is {self.status.value}; from there it goes to {' or '.join(ways) or 'nothing more'}.",
                details={"version_status": self.status.value, "allowed": ways},
            )
        step = Transition(self.status, to, act.by, act.at, act.comment)
        return replace(self, status=to, transitions=(*self.transitions, step))

    def revised(self, act: Act, number: str | None, definition: Definition | None, changelog: str | None) -> Self:
        """Changes a draft, which stays one; what is None stays.

        Of several revisions in a row its life tells the last. One that changes nothing is none.

        Raises:
            Conflict: `version_immutable`: it was submitted.
            Invalid: As `drafted`.
        """
        if self.status is not VersionStatus.DRAFT:
            text = f"This version is {self.status.value}: it does not change any more. Make a new one."
            raise Conflict("version_immutable", text, details={"version_status": self.status.value})
        new = self.drafted(
            self.version_id,
            self.version_number if number is None else number,
            self.definition if definition is None else definition,
            self.changelog if changelog is None else changelog,
            act,
        )
        if (new.version_number, new.config_hash, new.changelog) == (
            self.version_number,
            self.config_hash,
            self.changelog,
        ):
            return self
        before = self.transitions
        revised = replace(
            self,
            version_number=new.version_number,
            definition=new.definition,
            changelog=new.changelog,
            config_hash=new.config_hash,
            transitions=before[:-1] if before and before[-1].is_revision else before,
        )
        return revised.moved(VersionStatus.DRAFT, act)

    def submitted(self, act: Act, offered: Offered, request_id: str | None) -> Self:
        """Asks for its publication.

        Raises:
            Conflict: `transition_not_allowed`; `definition_has_problems`, whose details name every one.
        """
        asked = self.moved(VersionStatus.PENDING_APPROVAL, act)
        problems = problems_of(self.definition, offered)
        if problems:
            named = [{"path": one.path, "problem": one.problem} for one in problems]
            text = "A version with problems cannot be submitted: " + " ".join(f"{p.path} {p.problem}" for p in problems)
            raise Conflict("definition_has_problems", text[:2_000], details={"problems": named})
        return replace(asked, request_id=request_id)


def _checked_changelog(changelog: str) -> str:
    if len(changelog) > LONGEST_CHANGELOG:
        raise Invalid("changelog_too_long", f"A changelog has at most {LONGEST_CHANGELOG} characters.")
    return changelog
