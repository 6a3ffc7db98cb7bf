"""Which agent a request means: the profiles on disk, read again when a file changes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from taskforce.core.domain.approval_terms import Terms
from taskforce.core.domain.errors import Invalid, Missing
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs import AgentDefinition, Limits
from taskforce.infrastructure.profiles import Profile, list_profiles, load_profile


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says about the agent; None leaves it to the profile.

    Attributes:
        agent_id: The agent, by its id.
        profile: The agent, by its profile.
        model: LiteLLM names, separated by commas.
        max_steps, max_tokens, max_seconds: Limits, at most those of the agent.
    """

    agent_id: str | None = None
    profile: str | None = None
    model: str | None = None
    max_steps: int | None = None
    max_tokens: int | None = None
    max_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The agent as the run will keep it."""

    profile: str
    agent: AgentDefinition
    limits: Limits


class Agents:
    """The agents of the profiles.

    Args:
        directory: Where the profiles are.
        default: The profile of a request that names neither agent nor profile.
        environ: Where profiles and models look up variables.
        offered: Which other profiles a request may name; None means all of them in development, and none elsewhere.
        development: Whether a profile's lenient terms of approval count although the deployment's own has none.
    """

    def __init__(
        self,
        directory: Path,
        default: str,
        environ: Mapping[str, str],
        *,
        offered: Collection[str] | None = None,
        development: bool = False,
    ) -> None:
        self._directory = directory
        self._default = default
        self._environ = environ
        self._development = development
        self._offered = None if offered is None and development else frozenset((default, *(offered or ())))
        self._kept: dict[str, tuple[int, Profile]] = {}

    def choose(self, asked: Asked) -> Chosen:
        """Resolves and pins the agent.

        Raises:
            Missing: `agent_not_found` or `profile_not_found`.
            Invalid: `limit_exceeds_agent`, `profile_invalid`, `model_name_invalid` or `model_not_offered`.
        """
        profile = self._by_agent(asked.agent_id) if asked.agent_id else self._load(asked.profile or self._default)
        models = profile.models(self._environ, asked.model)
        agent = replace(profile.definition(models), approval=self._terms(profile))
        return Chosen(profile.profile, agent, _limits(profile.limits(), asked))

    def agent_id(self, agent_id: str | None, profile: str | None) -> str | None:
        """Which agent a request means that names it by its id, by its profile, or not at all.

        Args:
            agent_id: The id, if it names one.
            profile: The profile, if it names one.

        Returns:
            The agent's id; None for a profile that is not there or cannot be read.
        """
        try:
            return agent_id or self._load(profile or self._default).agent.id
        except (Missing, Invalid):
            return None

    def _terms(self, profile: Profile) -> Terms:
        """Who chooses a profile must not thereby choose to approve by himself, or by a claimed name."""
        terms = profile.terms()
        if self._development:
            return terms
        own = self._load(self._default).terms()
        return replace(
            terms,
            self_approval=terms.self_approval and own.self_approval,
            signal_channel=terms.signal_channel and own.signal_channel,
        )

    def _by_agent(self, agent_id: str) -> Profile:
        # The default profile first, in case two have an agent of the same id.
        names = sorted(self._names(), key=lambda name: (name != self._default, name))
        for name in names:
            try:
                profile = self._load(name)
            except Invalid:
                continue
            if profile.agent.id == agent_id:
                return profile
        raise missing("agent")

    def _names(self) -> tuple[str, ...]:
        offered = self._offered
        return tuple(name for name in list_profiles(self._directory) if offered is None or name in offered)

    def _load(self, name: str) -> Profile:
        try:
            if self._offered is None or name in self._offered:
                return self._read(name)
        except Missing:
            pass
        # The same words for a profile that is not offered as for one that is not there.
        known = ", ".join(self._names()) or "none"
        raise Missing("profile_not_found", f"There is no such profile. Known profiles: {known}.")

    def _read(self, name: str) -> Profile:
        changed = self._changed(name)
        kept = self._kept.get(name)
        if kept is None or changed is None or kept[0] != changed:
            profile = load_profile(name, self._directory, self._environ)
            if changed is None:
                return profile
            kept = self._kept[name] = (changed, profile)
        return kept[1]

    def _changed(self, name: str) -> int | None:
        if name not in self._kept and name not in list_profiles(self._directory):
            return None
        try:
            return (self._directory / f"{name}.yaml").stat().st_mtime_ns
        except OSError:
            return None


def _limits(most: Limits, asked: Asked) -> Limits:
    chosen = Limits(
        asked.max_steps or most.max_steps, asked.max_tokens or most.max_tokens, asked.max_seconds or most.max_seconds
    )
    for name in ("max_steps", "max_tokens", "max_seconds"):
        if getattr(chosen, name) > getattr(most, name):
            raise Invalid("limit_exceeds_agent", f"This agent allows a {name} of at most {getattr(most, name)}.")
    return chosen
