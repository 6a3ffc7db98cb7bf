"""The aggregate `Agent`: an agent of the catalog with its versions, aliases and current version."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from taskforce.core.domain.catalog.definition import Definition, Offered
from taskforce.core.domain.catalog.semver import SemVer
from taskforce.core.domain.catalog.version import FIRST_NUMBER, Act, AgentVersion, VersionStatus
from taskforce.core.domain.errors import Conflict, Invalid, Missing
from taskforce.core.domain.identity.api_keys import LONGEST_USER_ID
from taskforce.core.domain.identity.roles import display_name
from taskforce.core.domain.ids import is_id, missing
from taskforce.core.domain.slugs import derived

MOST_VERSIONS = 500
MOST_ALIASES = 50
MOST_TAGS = 50
LONGEST_TEXT = 10_000
LONGEST_LABEL = 100
SLUG = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
ALIAS = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"

_SLUG, _ALIAS = re.compile(SLUG), re.compile(ALIAS)
_LIVE = (VersionStatus.PENDING_APPROVAL, VersionStatus.PUBLISHED, VersionStatus.DEPRECATED)


def slug_of(name: str) -> str:
    """Derives a slug from a name: `Customer Support Agent` becomes `customer-support-agent`; see `derived`.

    Raises:
        Invalid: `slug_invalid` when the name has neither letters nor digits, or is an id.
    """
    slug = derived(name)
    if not slug or is_id(slug):
        raise Invalid("slug_invalid", "No slug can be derived from this name; state one as `slug`.")
    return checked_slug(slug)


def checked_slug(slug: str) -> str:
    """Requires a well-formed slug that is no id, and returns it.

    Raises:
        Invalid: `slug_invalid`.
    """
    # Agents are addressed by slug or id alike, so a slug in the form of an id would be ambiguous.
    if not _SLUG.fullmatch(slug) or is_id(slug):
        raise Invalid("slug_invalid", "A slug is 1 to 64 of a-z, 0-9 and hyphens, for example customer-support-agent.")
    return slug


@dataclass(frozen=True, slots=True)
class Description:
    """The descriptive fields of an agent.

    Attributes:
        name: Display name.
        slug: Name in URLs; unique within the tenant.
        description: Display text; may be empty.
        category: Category; None without one.
        tags: Labels for lists and policies.
        owner_id: The responsible user.

    Raises:
        Invalid: `agent_name_invalid`, `slug_invalid`, `description_invalid`, `category_invalid`, `tags_invalid` or
            `owner_invalid`.
    """

    name: str
    slug: str
    description: str = ""
    category: str | None = None
    tags: frozenset[str] = frozenset()
    owner_id: str = "system"

    def __post_init__(self) -> None:
        display_name(self.name, "agent")
        checked_slug(self.slug)
        if len(self.description) > LONGEST_TEXT:
            raise Invalid("description_invalid", f"A description has at most {LONGEST_TEXT} characters.")
        if self.category is not None and not _is_label(self.category):
            raise Invalid("category_invalid", f"A category is 1 to {LONGEST_LABEL} printable characters.")
        if len(self.tags) > MOST_TAGS or not all(map(_is_label, self.tags)):
            raise Invalid("tags_invalid", f"At most {MOST_TAGS} tags of 1 to {LONGEST_LABEL} printable characters.")
        if not 0 < len(self.owner_id) <= LONGEST_USER_ID:
            raise Invalid("owner_invalid", f"An owner is named by a user's id, of 1 to {LONGEST_USER_ID} characters.")


def _is_label(text: str) -> bool:
    return 0 < len(text) <= LONGEST_LABEL and text.isprintable() and text == text.strip()


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent of a tenant's catalog.

    Attributes:
        tenant_id: The agent's tenant.
        agent_id: The agent's id.
        about: The descriptive fields.
        versions: The versions in the order of creation.
        created_at: Time of creation, UTC.
        updated_at: Time of the last change, UTC.
        aliases: Ids of published versions by alias.
        current_id: The version that a run gets without naming one; None before the first publication.
        revision: Number of the revision, from 1; every change, of versions too, increments it.
    """

    tenant_id: str
    agent_id: str
    about: Description
    versions: tuple[AgentVersion, ...]
    created_at: datetime
    updated_at: datetime
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    current_id: str | None = None
    revision: int = 1

    @classmethod
    def made(
        cls,
        tenant_id: str,
        agent_id: str,
        about: Description,
        version_id: str,
        definition: Definition,
        *,
        act: Act,
        changelog: str = "",
    ) -> Self:
        """Creates an agent with a first version, a draft with the number 0.1.0.

        Raises:
            Invalid: As `AgentVersion.drafted`.
        """
        first = AgentVersion.drafted(version_id, FIRST_NUMBER, definition, changelog, act)
        return cls(tenant_id, agent_id, about, (first,), act.at, act.at)

    @property
    def current(self) -> AgentVersion | None:
        """Returns the version that a run gets without naming one."""
        return None if self.current_id is None else self.version(self.current_id)

    def version(self, name: str) -> AgentVersion:
        """Returns a version by its id or its number.

        Raises:
            Missing: `version_not_found`.
        """
        # Ids are stored in lower case; version numbers are case-sensitive.
        wanted = name.lower() if is_id(name) else name
        found = next((one for one in self.versions if wanted in (one.version_id, one.version_number)), None)
        if found is None:
            raise missing("version")
        return found

    def ordered(self) -> tuple[AgentVersion, ...]:
        """Returns the versions by their numbers, the highest first."""
        return tuple(sorted(self.versions, key=lambda one: one.number, reverse=True))

    def described(self, about: Description, now: datetime) -> Self:
        """Replaces the descriptive fields."""
        return self._changed(now, about=about)

    def drafted(self, version_id: str, number: str, definition: Definition, changelog: str, act: Act) -> Self:
        """Adds a version as a draft.

        Raises:
            Conflict: `version_exists`, `too_many_versions`.
            Invalid: As `AgentVersion.drafted`.
        """
        if len(self.versions) >= MOST_VERSIONS:
            raise Conflict("too_many_versions", f"An agent has at most {MOST_VERSIONS} versions. Clone it.")
        new = AgentVersion.drafted(version_id, number, definition, changelog, act)
        self._require_free(new.number)
        return self._changed(act.at, versions=(*self.versions, new))

    def revised(
        self,
        version_id: str,
        act: Act,
        *,
        number: str | None = None,
        definition: Definition | None = None,
        changelog: str | None = None,
    ) -> Self:
        """Changes a draft; fields that are None stay.

        Raises:
            Missing: `version_not_found`.
            Conflict: `version_exists` or `version_immutable`.
            Invalid: As `AgentVersion.drafted`.
        """
        was = self.version(version_id)
        new = was.revised(act, number, definition, changelog)
        if new is was:
            return self
        if new.number != was.number:
            self._require_free(new.number)
        return self._with(new, act)

    def submitted(self, version_id: str, act: Act, offered: Offered, request_id: str | None = None) -> Self:
        """Submits a version for publication; its definition is immutable from then on.

        Raises:
            Missing: `version_not_found`.
            Conflict: `transition_not_allowed` or `definition_has_problems`.
        """
        return self._with(self.version(version_id).submitted(act, offered, request_id), act)

    def approved(self, version_id: str, act: Act) -> Self:
        """Marks a submitted version as approved for publication.

        Raises:
            Missing, Conflict: As `AgentVersion.moved`.
        """
        return self._with(self.version(version_id).moved(VersionStatus.APPROVED, act), act)

    def rejected(self, version_id: str, act: Act) -> Self:
        """Returns a submitted version to draft.

        Raises:
            Missing, Conflict: As `AgentVersion.moved`; a draft is not rejected.
        """
        version = self.version(version_id)
        if version.status is VersionStatus.DRAFT:
            # The lifecycle allows draft to draft, but for a revision, so `moved` alone would let a draft be rejected.
            raise Conflict(
                "transition_not_allowed",
                "This version is draft; from there it goes to draft or pending_approval, and is not rejected.",
                details={"version_status": "draft", "allowed": [status.value for status in version.allowed]},
            )
        return self._with(version.moved(VersionStatus.DRAFT, act), act)

    def published(self, version_id: str, act: Act) -> Self:
        """Publishes an approved version and makes it the current one; earlier versions stay published.

        Raises:
            Missing, Conflict: As `AgentVersion.moved`.
        """
        version = self.version(version_id).moved(VersionStatus.PUBLISHED, act)
        return replace(self._with(version, act), current_id=version.version_id)

    def deprecated(self, version_id: str, act: Act, *, draining: bool = False, release: bool = False) -> Self:
        """Deprecates a version: from then on it can be started by its own number only.

        Args:
            version_id: The version.
            act: Author, time and comment.
            draining: Whether it takes no new runs at all.
            release: Whether its aliases are removed, and the agent may be left without a current version; else a
                version with either is refused.

        Raises:
            Missing: `version_not_found`.
            Conflict: `transition_not_allowed`; `version_in_use`, whose details name its aliases and whether it is
                current.
        """
        new = replace(self.version(version_id).moved(VersionStatus.DEPRECATED, act), draining=draining)
        aliases = sorted(name for name, target in self.aliases.items() if target == new.version_id)
        is_current = self.current_id == new.version_id
        if (aliases or is_current) and not release:
            text = "This version is still in use. Publish or roll back to another, move its aliases, or say `release`."
            raise Conflict("version_in_use", text, details={"aliases": aliases, "current": is_current})
        kept = {name: target for name, target in self.aliases.items() if target != new.version_id}
        return replace(self._with(new, act), aliases=kept, current_id=None if is_current else self.current_id)

    def archived(self, version_id: str, act: Act) -> Self:
        """Archives a deprecated version: it can never be started again.

        Raises:
            Missing, Conflict: As `AgentVersion.moved`.
        """
        new = replace(self.version(version_id).moved(VersionStatus.ARCHIVED, act), draining=True)
        return self._with(new, act)

    def rolled_back(self, act: Act, version_id: str | None = None) -> Self:
        """Makes an earlier published version the current one again.

        Args:
            act: Author, time and comment.
            version_id: The version; None means the one that was published last before the current one.

        Raises:
            Missing: `version_not_found`.
            Conflict: `nothing_to_roll_back_to`; `version_not_published`; `version_is_current`.
        """
        target = self._before_current() if version_id is None else self.version(version_id)
        _require_published(target)
        if target.version_id == self.current_id:
            raise Conflict("version_is_current", "This version is the current one.")
        return self._changed(act.at, current_id=target.version_id)

    def pointed(self, alias: str, version_id: str, now: datetime) -> Self:
        """Sets an alias to a published version, wherever it pointed before.

        Raises:
            Invalid: `alias_invalid`.
            Missing: `version_not_found`.
            Conflict: `version_not_published`, `too_many_aliases`.
        """
        if not _ALIAS.fullmatch(alias):
            raise Invalid("alias_invalid", "An alias is 1 to 64 of a-z, 0-9, dots, underscores and hyphens.")
        target = self.version(version_id)
        _require_published(target)
        aliases = {**self.aliases, alias: target.version_id}
        if len(aliases) > MOST_ALIASES:
            raise Conflict("too_many_aliases", f"An agent has at most {MOST_ALIASES} aliases.")
        return self._changed(now, aliases=aliases)

    def unpointed(self, alias: str, now: datetime) -> Self:
        """Removes an alias.

        Raises:
            Missing: `alias_not_found`.
        """
        if alias not in self.aliases:
            raise missing("alias")
        return self._changed(now, aliases={name: one for name, one in self.aliases.items() if name != alias})

    def require_removable(self, open_runs: int) -> None:
        """Requires that an agent may be removed: no version is pending or startable, and no run of it is open.

        Raises:
            Conflict: `agent_in_use`; its details name the versions and the number of open runs.
        """
        live = [one.version_number for one in self.ordered() if one.status in _LIVE]
        if live or open_runs:
            text = "An agent can be removed once its versions are drafts or archived and no run of it is open."
            raise Conflict("agent_in_use", text, details={"versions": live, "open_runs": open_runs})

    def _before_current(self) -> AgentVersion:
        # After a rollback, versions published later than the current one are no way back.
        latest = None if self.current is None else self.current.has_been(VersionStatus.PUBLISHED)
        earlier = [
            (at, one)
            for one in self.versions
            if one.status is VersionStatus.PUBLISHED and (at := one.has_been(VersionStatus.PUBLISHED))
            if one.version_id != self.current_id and (latest is None or at <= latest)
        ]
        if not earlier:
            raise Conflict("nothing_to_roll_back_to", "No other version was published before the current one.")
        return max(earlier, key=lambda found: found[0])[1]

    def _require_free(self, number: SemVer) -> None:
        if any(one.number == number for one in self.versions):
            raise Conflict("version_exists", f"There is a version {number} already; build metadata does not count.")

    def _with(self, version: AgentVersion, act: Act) -> Self:
        versions = tuple(version if one.version_id == version.version_id else one for one in self.versions)
        return self._changed(act.at, versions=versions)

    def _changed(self, now: datetime, **changes: object) -> Self:
        return replace(self, updated_at=now, revision=self.revision + 1, **changes)  # type: ignore[arg-type]


def _require_published(version: AgentVersion) -> None:
    if version.status is not VersionStatus.PUBLISHED:
        text = f"This takes a published version; {version.version_number} is {version.status.value}."
        raise Conflict("version_not_published", text, details={"version_status": version.status.value})


def labels(values: Iterable[str]) -> frozenset[str]:
    """Freezes tags; a bare text is refused because it would become a set of its letters.

    Raises:
        Invalid: `tags_invalid`.
    """
    if isinstance(values, str):
        raise Invalid("tags_invalid", "Tags are a set of texts.")
    return frozenset(values)


def require_startable(version: AgentVersion, *, by_number: bool) -> None:
    """Requires that a version may be started: a published one, or a deprecated one that is named by its number.

    Args:
        version: The version.
        by_number: Whether the caller named the version by its number.

    Raises:
        Conflict: `version_not_published`; `version_draining`.
    """
    if version.status is VersionStatus.DEPRECATED and by_number:
        if version.draining:
            raise Conflict("version_draining", f"Version {version.version_number} takes no new runs.")
        return
    _require_published(version)


def no_current(aliased: str | None) -> Conflict | Missing:
    """Returns the error for an agent without a current version, or for an unknown alias."""
    if aliased is not None:
        return missing("alias")
    return Conflict("agent_not_published", "No version of this agent is published. Submit one, or name a version.")
