"""A version of an agent and its lifecycle."""

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
    """The status of a version (guide 4.2)."""

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
"""The transitions of the guide's diagram (4.2); the one from draft to draft is a revision."""


@dataclass(frozen=True, slots=True)
class Act:
    """Author, time and comment of a change of a version.

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
    """A transition of a version from one status to another."""

    was: VersionStatus
    now: VersionStatus
    by: str
    at: datetime
    comment: str

    @property
    def is_revision(self) -> bool:
        """Returns whether it is a change of a draft that stayed one."""
        return (self.was, self.now) == (VersionStatus.DRAFT, VersionStatus.DRAFT)


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """A version of an agent; its definition is immutable once it was submitted.

    Attributes:
        version_id: The version's id.
        version_number: Its number (Semantic Versioning).
        definition: The agent's definition, parsed JSON.
        changelog: Display text of the changes.
        created_by: The user who created it.
        created_at: Time of creation, UTC.
        config_hash: SHA-256 over the definition's canonical JSON.
        status: Its status.
        transitions: Its transitions, oldest first; of consecutive revisions only the last.
        draining: Whether it takes no new runs although it is not archived yet.
        request_id: The last request for approval of its publication; None without one.
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
        """Creates a draft.

        Raises:
            Invalid: `version_number_invalid`, `definition_malformed`, `definition_too_large` or `changelog_too_long`.
        """
        SemVer.parse(number)
        check_definition(definition)
        said = _checked_changelog(changelog)
        return cls(version_id, number, definition, said, act.by, act.at, canonical_hash(definition))

    @property
    def number(self) -> SemVer:
        """Returns its number, parsed for comparison."""
        return SemVer.parse(self.version_number)

    @property
    def allowed(self) -> tuple[VersionStatus, ...]:
        """Returns the statuses that may follow its status."""
        return ALLOWED[self.status]

    def has_been(self, status: VersionStatus) -> datetime | None:
        """Returns the time of its last transition into a status; None without one."""
        return next((one.at for one in reversed(self.transitions) if one.now is status), None)

    def moved(self, to: VersionStatus, act: Act) -> Self:
        """Moves to another status.

        Raises:
            Conflict: `transition_not_allowed`; its message and `details["allowed"]` name the allowed statuses.
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
        """Changes a draft; fields that are None stay.

        Of consecutive revisions only the last transition is kept. A revision without a difference returns the same
        version.

        Raises:
            Conflict: `version_immutable` when it was submitted.
            Invalid: As `drafted`.
        """
        if self.status is not VersionStatus.DRAFT:
            text = f"This version is {self.status.value}: it does not change any more. Make a new one."
            raise Conflict("version_immutable", text, details={"version_status": self.status.value})
        # A revision passes the same checks as a new draft.
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
        """Submits the version for publication.

        Raises:
            Conflict: `transition_not_allowed`; `definition_has_problems`, whose details name every problem.
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
