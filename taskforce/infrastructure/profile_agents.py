"""Agents of the profiles on disk, which are read again when a file changes."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.definition import Offered
from taskforce.core.domain.errors import Invalid, Missing
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.reply_times import reply_times
from taskforce.core.domain.runs.run import Limits
from taskforce.core.domain.runs.selection import AgentSelector, ResolvedVersion, SelectedAgent
from taskforce.core.interfaces.agents import AgentSource
from taskforce.infrastructure.config.profiles import Profile, list_profiles, load_profile
from taskforce.infrastructure.llm.model_selection import split_names


class ProfileAgents(AgentSource):
    """Resolves agents of the profiles; implements `AgentSource`.

    Args:
        directory: The directory of the profiles.
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

    def choose(self, selector: AgentSelector) -> SelectedAgent:
        """Resolves the agent of a request and pins its definition.

        Raises:
            Missing: `agent_not_found` or `profile_not_found`.
            Invalid: `limit_exceeds_agent`, `profile_invalid`, `model_name_invalid` or `model_not_offered`.
        """
        profile = (
            self._by_agent(selector.agent_id) if selector.agent_id else self._load(selector.profile or self._default)
        )
        models = profile.models(self._environ, selector.model)
        agent = replace(profile.definition(models), approval=self._terms(profile))
        return SelectedAgent(profile.profile, agent, _limits(profile.limits(), selector))

    def agent_id(self, agent_id: str | None, profile: str | None) -> str | None:
        """Returns the id of the agent that a request names by its id, by its profile, or not at all.

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

    def pinned(self, selector: AgentSelector, found: ResolvedVersion) -> SelectedAgent:
        """Returns a catalog version as a run stores it; the deployment's own profile completes what it leaves open.

        Raises:
            Invalid: `limit_exceeds_agent`; `model_pinned` when another model is asked for than the version names;
                `profile_invalid`, `model_name_invalid` or `model_not_offered`.
        """
        own, says = self._load(self._default), found.instructions
        if selector.model is not None and says.models and selector.model != ",".join(says.models):
            raise Invalid("model_pinned", "This version of the agent names its model; it runs with no other.")
        models = says.models or own.models(self._environ, selector.model)
        times = reply_times(models, own.reply_times(), says.reply_times, own.llm.max_reply_seconds)
        agent = found.definition(models, self._terms(own), own.loop_limits(), times)
        return SelectedAgent(own.profile, agent, _limits(says.limits, selector), found.deprecated_at)

    def knows(self, agent_id: str) -> bool:
        """Returns whether a profile's agent has this id; it takes precedence over a catalog agent of the same name."""
        return agent_id in self.ids()

    def ids(self) -> frozenset[str]:
        """Returns the ids of the profiles' agents."""
        return frozenset(profile.agent.id for profile in self._profiles())

    def offered(self, tools: Collection[str]) -> Offered:
        """Returns the tools, models and handlers that a catalog definition may name.

        Args:
            tools: The names of the installed tools.
        """
        return Offered(frozenset(tools), self._offers)

    def terms(self) -> Terms:
        """Returns the approval terms of requests that no agent makes, by the deployment's own profile, whoever asks."""
        return replace(self._load(self._default).terms(), required_approvers=1, self_approval=False)

    def _offers(self, model: str) -> bool:
        # Only a single model's name: with commas it is a fallback list, with blanks it is none.
        try:
            return split_names(model) == (model,) == self._load(self._default).models(self._environ, model)
        except Invalid:
            return False

    def _terms(self, profile: Profile) -> Terms:
        """Restricts a chosen profile's terms: its choice must not admit self-approval or unproven signals."""
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
        found = next((profile for profile in self._profiles() if profile.agent.id == agent_id), None)
        if found is None:
            raise missing("agent")
        return found

    def _profiles(self) -> Iterator[Profile]:
        # The default profile first: it wins when two profiles have an agent of the same id.
        for name in sorted(self._names(), key=lambda name: (name != self._default, name)):
            try:
                yield self._load(name)
            except Invalid:
                continue

    def _names(self) -> tuple[str, ...]:
        offered = self._offered
        return tuple(name for name in list_profiles(self._directory) if offered is None or name in offered)

    def _load(self, name: str) -> Profile:
        try:
            if self._offered is None or name in self._offered:
                return self._read(name)
        except Missing:
            pass
        # The same error as for a missing profile, so that callers cannot probe which profiles exist.
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


def _limits(most: Limits, selector: AgentSelector) -> Limits:
    chosen = Limits(
        selector.max_steps or most.max_steps,
        selector.max_tokens or most.max_tokens,
        selector.max_seconds or most.max_seconds,
    )
    for name in ("max_steps", "max_tokens", "max_seconds"):
        if getattr(chosen, name) > getattr(most, name):
            raise Invalid("limit_exceeds_agent", f"This agent allows a {name} of at most {getattr(most, name)}.")
    return chosen
