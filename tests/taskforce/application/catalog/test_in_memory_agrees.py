"""Whatever is done to a catalog in memory and to one in the database, both say the same, and the rules hold."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskforce.application.approval_handlers.agent_publication import AgentPublicationHandler
from taskforce.application.approvals.decisions import ApprovalDecisions, RecordedDecision
from taskforce.application.catalog import AgentCatalog, agents, publishing, versions
from taskforce.application.catalog.agents import Named, NewAgent
from taskforce.application.catalog.publishing import AGENT_PUBLISH, Submission
from taskforce.application.catalog.versions import InFlight, NewVersion, Retirement, Revision
from taskforce.application.identity.principals import Actor
from taskforce.application.runs.run_cache import RunCache
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.definition import Offered
from taskforce.core.domain.catalog.version import ALLOWED, VersionStatus
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.agents import GOOD, NOW, make_acting
from tests.fixtures.stack import DatabaseUrls
from tests.taskforce.application.scenario import Watchers

OFFERED = Offered(frozenset({"calculator"}), bool)
NAMES = st.sampled_from(["Counter", "Clerk", "Chat bot"])
NUMBERS = st.sampled_from(["0.1.0", "0.2.0", "1.0.0-rc.1", "1.0.0", "1.0.0+b", "2.0.0", "no"])
DEFINITIONS = st.sampled_from([GOOD, {**GOOD, "temperature": 0.5}, {**GOOD, "tools": ["teleport"]}, {}])
ALIASES = st.sampled_from(["stable", "canary"])
PLACES = st.integers(0, 5)
MEANT = st.none() | PLACES

Outcome = str | None
"""The code of a refusal; None when it was done."""


class Catalogs(RuleBasedStateMachine):
    """The same acts on a facade and on the service's use cases."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = Database(self.url, pool_size=2)
        self.tenant = f"agrees-{uuid4().hex[:12]}"
        self.catalog = AgentCatalog(OFFERED, max_agents=None, clock=lambda: NOW)
        rules, run_cache = AccessRules(), RunCache(self.database)
        handlers = {AGENT_PUBLISH: AgentPublicationHandler(rules)}
        self.decisions = ApprovalDecisions(
            self.database, run_cache, Watchers(), clock=lambda: NOW, rules=rules, handlers=handlers
        )
        self.tool_step: Actor | None = None
        self.hashes: dict[tuple[str, str], str] = {}

    @initialize()
    def somebody(self) -> None:
        async def find_key() -> Actor:
            await self.database.register_tenant(self.tenant, NOW)
            return await make_acting(self.database, self.tenant, "alice", NOW, "admin")

        self.tool_step = self.runner.run(find_key())

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()

    # What is done

    @rule(name=NAMES, definition=DEFINITIONS)
    def make(self, name: str, definition: Mapping[str, Any]) -> None:
        self._both(
            lambda: self.catalog.create_agent(self.tenant, name, owner_id="alice", initial_definition=definition),
            lambda actor: agents.create_agent(self.database, actor, NewAgent(name, definition)),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, number=NUMBERS, definition=DEFINITIONS)
    def draft(self, place: int, number: str, definition: Mapping[str, Any]) -> None:
        slug, agent_id = self._agent(place)
        self._both(
            lambda: self.catalog.create_version(agent_id, number, definition),
            lambda who: versions.draft_version(self.database, who, Named(slug), NewVersion(number, definition)),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, version=PLACES, number=st.none() | NUMBERS, definition=DEFINITIONS)
    def revise(self, place: int, version: int, number: str | None, definition: Mapping[str, Any]) -> None:
        slug, agent_id = self._agent(place)
        which = self._version(agent_id, version)
        known = self.catalog.agent(agent_id).version(which).version_id
        new = Revision(number, definition)
        self._both(
            lambda: self.catalog.revise_version(agent_id, known, definition, version_number=number),
            lambda actor: versions.revise_version(self.database, actor, Named(slug), which, new),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, version=PLACES)
    def submit(self, place: int, version: int) -> None:
        slug, agent_id = self._agent(place)
        which = self._version(agent_id, version)
        asked = Submission(which, OFFERED, Terms())
        self._both(
            lambda: self.catalog.submit_for_approval(agent_id, which),
            lambda actor: publishing.submit_version(self.database, actor, Named(slug), asked),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, version=PLACES, verdict=st.sampled_from(Verdict))
    def decide(self, place: int, version: int, verdict: Verdict) -> None:
        slug, agent_id = self._agent(place)
        which = self._version(agent_id, version)
        decide = self.catalog.approve_version if verdict is Verdict.APPROVE else self.catalog.reject_version

        async def close(actor: Actor) -> None:
            agent, request = await publishing.request_for(self.database, actor, slug, which)
            publishing.require_waiting(actor, agent, which, verdict, publishing.VerdictPreconditions())
            assert request is not None
            request_id = request.approval.request_id
            said = Decision("bob", verdict, "as I say", Channel.API, actor.now)
            await self.decisions.record(self.tenant, request_id, RecordedDecision(said))
            status = ApprovalStatus.APPROVED if verdict is Verdict.APPROVE else ApprovalStatus.REJECTED
            await self.decisions.close(self.tenant, request_id, status, "as I say")

        self._both(lambda: decide(agent_id, which, "bob"), close)

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, version=PLACES)
    def publish(self, place: int, version: int) -> None:
        slug, agent_id = self._agent(place)
        which = self._version(agent_id, version)
        self._both(
            lambda: self.catalog.publish_version(agent_id, which),
            lambda actor: versions.publish_version(self.database, actor, Named(slug), which),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, version=PLACES, release=st.booleans())
    def deprecate(self, place: int, version: int, release: bool) -> None:
        slug, agent_id = self._agent(place)
        which = self._version(agent_id, version)
        how = Retirement(InFlight.FINISH, release)
        self._both(
            lambda: self.catalog.deprecate_version(agent_id, which, release=release),
            lambda actor: versions.deprecate_version(self.database, actor, Named(slug), which, how),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, version=PLACES)
    def archive(self, place: int, version: int) -> None:
        slug, agent_id = self._agent(place)
        which = self._version(agent_id, version)
        self._both(
            lambda: self.catalog.archive_version(agent_id, which),
            lambda who: versions.archive_version(self.database, who, Named(slug), which, Retirement()),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, version=MEANT)
    def roll_back(self, place: int, version: int | None) -> None:
        slug, agent_id = self._agent(place)
        which = None if version is None else self._version(agent_id, version)
        self._both(
            lambda: self.catalog.rollback(agent_id, which),
            lambda actor: versions.roll_back(self.database, actor, Named(slug), which),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES, alias=ALIASES, version=MEANT)
    def point(self, place: int, alias: str, version: int | None) -> None:
        slug, agent_id = self._agent(place)
        if version is None:
            self._both(
                lambda: self.catalog.remove_alias(agent_id, alias),
                lambda actor: agents.remove_alias(self.database, actor, Named(slug), alias),
            )
            return
        which = self._version(agent_id, version)
        self._both(
            lambda: self.catalog.set_alias(agent_id, alias, which),
            lambda actor: agents.point_alias(self.database, actor, Named(slug), alias, which),
        )

    @precondition(lambda self: self._slugs())
    @rule(place=PLACES)
    def remove(self, place: int) -> None:
        slug, agent_id = self._agent(place)
        self._both(
            lambda: self.catalog.remove_agent(agent_id),
            lambda actor: agents.remove_agent(self.database, actor, Named(slug)),
        )

    # What holds

    @invariant()
    def both_say_the_same(self) -> None:
        if self.tool_step is not None:
            stored = self.runner.run(self._stored())
            assert {agent.about.slug: seen(agent) for agent in stored} == {
                agent.about.slug: seen(agent) for agent in self._here()
            }

    @invariant()
    def names_lead_to_published_versions(self) -> None:
        for agent in self._here():
            targets = [*agent.aliases.values(), *([agent.current_id] if agent.current_id else [])]
            assert all(agent.version(one).status is VersionStatus.PUBLISHED for one in targets)
            assert len({one.number for one in agent.versions}) == len(agent.versions)

    @invariant()
    def no_version_has_left_the_picture_or_was_published_unapproved(self) -> None:
        for agent in self._here():
            for version in agent.versions:
                steps = version.transitions
                assert all(one.now in ALLOWED[one.was] for one in steps)
                assert [one.was for one in steps[1:]] == [one.now for one in steps[:-1]]
                last = steps[-1].now if steps else VersionStatus.DRAFT
                assert last is version.status
                beyond = version.status not in {VersionStatus.DRAFT, VersionStatus.PENDING_APPROVAL}
                assert beyond == (version.has_been(VersionStatus.APPROVED) is not None)

    @invariant()
    def what_was_submitted_does_not_change(self) -> None:
        for agent in self._here():
            for version in agent.versions:
                key = agent.agent_id, version.version_id
                if version.status is VersionStatus.DRAFT:
                    self.hashes.pop(key, None)
                else:
                    assert self.hashes.setdefault(key, version.config_hash) == version.config_hash

    def _both(self, here: Callable[[], object], there: Callable[[Actor], Awaitable[object]]) -> None:
        assert self.tool_step is not None
        actor = self.tool_step

        async def stored() -> Outcome:
            try:
                await there(actor)
            except DomainError as error:
                return error.code
            return None

        assert outcome(here) == self.runner.run(stored())

    def _here(self) -> list[Agent]:
        return [self.catalog.agent(one.agent_id) for one in self.catalog.list_agents(self.tenant)]

    async def _stored(self) -> list[Agent]:
        found = []
        async with self.database.tenant(self.tenant) as records:
            for slug in ("counter", "clerk", "chat-bot"):
                agent = await records.catalog.get(slug)
                found += [] if agent is None else [agent]
        return found

    def _slugs(self) -> list[tuple[str, str]]:
        return sorted((agent.about.slug, agent.agent_id) for agent in self._here())

    def _agent(self, place: int) -> tuple[str, str]:
        slugs = self._slugs()
        return slugs[place % len(slugs)]

    def _version(self, agent_id: str, place: int) -> str:
        versions = self.catalog.agent(agent_id).versions
        return versions[place % len(versions)].version_number


def outcome(act: Callable[[], object]) -> Outcome:
    try:
        act()
    except DomainError as error:
        return error.code
    return None


def seen(agent: Agent) -> dict[str, object]:
    """What both must say; ids and names of people are their own."""
    numbers = {one.version_id: one.version_number for one in agent.versions}
    return {
        "revision": agent.revision,
        "current": None if agent.current_id is None else numbers[agent.current_id],
        "aliases": {name: numbers[target] for name, target in agent.aliases.items()},
        "versions": [
            (one.version_number, one.status, one.config_hash, one.draining, len(one.transitions))
            for one in agent.versions
        ],
    }


def test_the_catalog_in_memory_and_that_in_the_database_agree(postgres: DatabaseUrls) -> None:
    machine = type("Stored", (Catalogs,), {"url": postgres.app})
    checks = list(HealthCheck)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12, stateful_step_count=40, deadline=None, database=None, suppress_health_check=checks
        ),
    )
