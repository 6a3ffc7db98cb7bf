"""Policies, and questions to put to them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from taskforce.core.domain.access.policies import ACTIONS, RESERVED, Policy, Resource
from taskforce.core.domain.access.policy_documents import parse
from taskforce.core.interfaces.identity import Permission, ResourceType, UserContext

Document = dict[str, object]

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)
"""A Wednesday."""
RUN = Permission.AGENT_EXECUTE
BOT = Resource(ResourceType.AGENT, "bot", "acme")


def user(*permissions: Permission, roles: Sequence[str] = (), facts: Mapping[str, object] | None = None) -> UserContext:
    return UserContext("alice", "acme", roles=set(roles), permissions=set(permissions), attributes=facts or {})


def rule(effect: str = "deny", **keys: object) -> Document:
    return {"id": "it", "effect": effect, "actions": ["agent:execute"]} | keys


def policy(*rules: Document) -> Policy:
    return parse({"version": 1, "rules": list(rules)})


def texts(*some: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(some), min_size=1, max_size=2)


CONDITIONS = st.one_of(
    st.builds(
        lambda values: {"attribute": "user.department", "in": values},
        st.lists(st.sampled_from(["hr", 1, True, 1.5]), min_size=1),
    ),
    st.builds(lambda value: {"attribute": "context.channel", "equals": value}, st.sampled_from(["api", 1, False])),
    st.just({"attribute": "user.department", "present": True}),
    st.builds(
        lambda how, tags: {"resource_tags": {how: tags}}, st.sampled_from(["has_any", "has_all"]), texts("red", "blue")
    ),
    st.builds(
        lambda days, ends: {"time": {"days": days, "from": "11:00", "to": ends, "zone": "Asia/Tokyo"}},
        texts("wed", "thu"),
        st.sampled_from(["03:00", "22:00", "24:00"]),
    ),
)
NEGATIVES = st.one_of(
    st.builds(lambda values: {"attribute": "user.department", "not_in": values}, texts("hr", "it")),
    st.just({"attribute": "context.channel", "not_equals": "api"}),
    st.just({"attribute": "user.department", "present": False}),
)
GIVEN = [action for action, meant in ACTIONS.items() if not meant & RESERVED]
WHOM: dict[str, st.SearchStrategy[object]] = {
    "roles": texts("admin", "operator"),
    "users": texts("alice", "bob"),
    "description": st.just("because"),
}


def selectors(kinds: Sequence[ResourceType] = tuple(ResourceType)) -> st.SearchStrategy[list[Document]]:
    named: st.SearchStrategy[Document] = st.fixed_dictionaries(
        {"type": st.sampled_from([kind.value for kind in kinds]), "ids": texts("bot", "two")}
    )
    return st.lists(named, min_size=1, max_size=3)


def rules(effect: str, kinds: Sequence[ResourceType] = tuple(ResourceType)) -> st.SearchStrategy[Document]:
    deny = effect == "deny"
    conditions = st.lists(st.one_of(CONDITIONS, NEGATIVES) if deny else CONDITIONS, max_size=2)
    needed: dict[str, st.SearchStrategy[object]] = {
        "id": st.uuids().map(str),
        "effect": st.just(effect),
        "actions": st.lists(st.sampled_from(list(ACTIONS) if deny else GIVEN), min_size=1, max_size=4),
    }
    about: dict[str, st.SearchStrategy[object]] = {"resources": selectors(kinds)}
    always, sometimes = (needed, WHOM | about) if deny else (needed | about, WHOM)
    return st.fixed_dictionaries(always, optional=sometimes | {"when": conditions})


DENY, ALLOW = rules("deny"), rules("allow")
DOCUMENTS = st.lists(st.one_of(DENY, ALLOW), max_size=5)
USERS = st.builds(
    UserContext,
    st.sampled_from(["alice", "bob"]),
    st.just("acme"),
    roles=st.frozensets(st.sampled_from(["admin", "operator"])),
    permissions=st.frozensets(st.sampled_from(Permission)),
    attributes=st.dictionaries(st.just("department"), st.sampled_from(["hr", ["hr", "it"], 1, True, None, {}])),
)
RESOURCES = st.builds(
    Resource,
    st.sampled_from(ResourceType),
    st.sampled_from(["bot", "two", None]),
    st.just("acme"),
    st.frozensets(st.sampled_from(["red", "blue"])),
)
QUESTIONS = st.tuples(
    USERS,
    st.sampled_from(Permission),
    RESOURCES,
    st.dictionaries(st.just("channel"), st.sampled_from(["api", 1, 0])),
    st.integers(0, 366 * 24 * 4).map(lambda quarters: NOW + timedelta(minutes=15 * quarters)),
)
Question = tuple[UserContext, Permission, Resource, Mapping[str, object], datetime]
