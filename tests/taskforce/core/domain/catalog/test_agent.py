"""The rules of agents and their versions."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.core.domain.catalog.agent import MOST_VERSIONS, Agent, Description, require_startable, slug_of
from taskforce.core.domain.catalog.definition import ANYTHING, Offered, instructions_of, problems_of
from taskforce.core.domain.catalog.definition_diff import differences
from taskforce.core.domain.catalog.version import ALLOWED, Act, VersionStatus
from taskforce.core.domain.errors import Conflict, DomainError, Invalid, Missing
from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.runs.run import Limits
from tests.fixtures.agents import GOOD, NOW, act, approved, made, published

STEPS: dict[str, Callable[[Agent], Agent]] = {
    "revise": lambda agent: agent.revised("0.1.0", act(), changelog="x"),
    "submit": lambda agent: agent.submitted("0.1.0", act(), ANYTHING),
    "approve": lambda agent: agent.approved("0.1.0", act("bob")),
    "reject": lambda agent: agent.rejected("0.1.0", act("bob")),
    "publish": lambda agent: agent.published("0.1.0", act()),
    "deprecate": lambda agent: agent.deprecated("0.1.0", act(), release=True),
    "archive": lambda agent: agent.archived("0.1.0", act()),
}
WAYS = {
    VersionStatus.DRAFT: {"revise": "draft", "submit": "pending_approval"},
    VersionStatus.PENDING_APPROVAL: {"approve": "approved", "reject": "draft"},
    VersionStatus.APPROVED: {"publish": "published"},
    VersionStatus.PUBLISHED: {"deprecate": "deprecated"},
    VersionStatus.DEPRECATED: {"archive": "archived"},
    VersionStatus.ARCHIVED: {},
}
"""The guide's picture, written down once more."""
TO: dict[VersionStatus, tuple[str, ...]] = {
    VersionStatus.DRAFT: (),
    VersionStatus.PENDING_APPROVAL: ("submit",),
    VersionStatus.APPROVED: ("submit", "approve"),
    VersionStatus.PUBLISHED: ("submit", "approve", "publish"),
    VersionStatus.DEPRECATED: ("submit", "approve", "publish", "deprecate"),
    VersionStatus.ARCHIVED: ("submit", "approve", "publish", "deprecate", "archive"),
}


def brought(status: VersionStatus) -> Agent:
    agent = made()
    for step in TO[status]:
        agent = STEPS[step](agent)
    assert agent.version("0.1.0").status is status
    return agent


def two() -> Agent:
    return made().drafted("v2", "1.0.0", GOOD, "", act())


def later(seconds: int) -> Act:
    return Act("alice", NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("status", VersionStatus)
@pytest.mark.parametrize("step", STEPS)
def test_a_version_goes_the_ways_of_the_picture_and_no_other(status: VersionStatus, step: str) -> None:
    agent = brought(status)
    if step in WAYS[status]:
        after = STEPS[step](agent).version("0.1.0")
        assert after.status == WAYS[status][step]
        assert (after.transitions[-1].was, after.transitions[-1].now) == (status, after.status)
        return
    with pytest.raises(Conflict) as refused:
        STEPS[step](agent)
    if step == "revise":
        assert refused.value.code == "version_immutable"
    else:
        assert refused.value.code == "transition_not_allowed"
        assert refused.value.details["allowed"] == [one.value for one in ALLOWED[status]]
        assert all(one.value in refused.value.message for one in ALLOWED[status])


def test_every_change_counts_and_says_who_when_and_why() -> None:
    agent = made().submitted("0.1.0", Act("alice", NOW, "Ready."), ANYTHING, "r1")
    assert (agent.revision, agent.version("0.1.0").request_id) == (2, "r1")
    step = agent.version("0.1.0").transitions[-1]
    assert (step.by, step.at, step.comment) == ("alice", NOW, "Ready.")
    with pytest.raises(Invalid) as refused:
        Act("alice", NOW, "x" * 2_001)
    assert refused.value.code == "comment_too_long"


def test_of_revisions_in_a_row_the_last_is_told_and_one_of_nothing_is_none() -> None:
    agent = made().submitted("0.1.0", act(), ANYTHING).rejected("0.1.0", act())
    for second in range(5):
        agent = agent.revised("0.1.0", later(second), changelog=f"{second}")
        assert agent.revised("0.1.0", later(9), changelog=f"{second}", definition=dict(GOOD)) is agent
    steps = agent.version("0.1.0").transitions
    assert [(one.was.value, one.now.value) for one in steps] == [
        ("draft", "pending_approval"),
        ("pending_approval", "draft"),
        ("draft", "draft"),
    ]
    assert (steps[-1].at, agent.revision) == (later(4).at, 8)


def test_publishing_makes_current_and_deprecates_nothing() -> None:
    agent = published(published(two(), "0.1.0"), "1.0.0")
    assert agent.current is not None
    assert agent.current.version_number == "1.0.0"
    assert {one.status for one in agent.versions} == {VersionStatus.PUBLISHED}


def test_what_is_in_use_is_not_deprecated_unless_it_is_said() -> None:
    agent = published(two(), "0.1.0").pointed("stable", "0.1.0", NOW).pointed("live", "0.1.0", NOW)
    with pytest.raises(Conflict) as refused:
        agent.deprecated("0.1.0", act())
    assert (refused.value.code, refused.value.details) == (
        "version_in_use",
        {"aliases": ["live", "stable"], "current": True},
    )
    moved = published(agent, "1.0.0").pointed("stable", "1.0.0", NOW)
    with pytest.raises(Conflict) as refused:
        moved.deprecated("0.1.0", act())
    assert refused.value.details == {"aliases": ["live"], "current": False}
    released = moved.deprecated("0.1.0", act(), release=True)
    assert released.aliases == {"stable": "v2"}
    assert released.current_id == "v2"
    assert agent.deprecated("0.1.0", act(), release=True).current is None


def test_a_rollback_leads_to_what_was_published_before() -> None:
    agent = two().drafted("v3", "0.5.0", GOOD, "", act())
    for second, number in enumerate(("1.0.0", "0.1.0", "0.5.0")):
        agent = approved(agent, number).published(number, later(second))
    back = agent.rolled_back(act())
    assert back.current_id == agent.version("0.1.0").version_id
    assert back.rolled_back(act()).current_id == "v2"
    assert back.rolled_back(act(), "0.5.0").current_id == "v3"
    with pytest.raises(Conflict, match="No other version"):
        back.rolled_back(act()).rolled_back(act())
    with pytest.raises(Conflict) as refused:
        agent.rolled_back(act(), "0.5.0")
    assert refused.value.code == "version_is_current"
    with pytest.raises(Conflict) as refused:
        published(two(), "0.1.0").rolled_back(act(), "1.0.0")
    assert refused.value.code == "version_not_published"
    after = back.deprecated("0.1.0", act(), release=True).rolled_back(act())
    assert after.current_id == "v3"


def test_which_versions_can_be_started() -> None:
    current = published(made(), "0.1.0").version("0.1.0")
    require_startable(current, by_number=False)
    old = replace(current, status=VersionStatus.DEPRECATED)
    require_startable(old, by_number=True)
    for version, by_number, code in (
        (old, False, "version_not_published"),
        (replace(old, draining=True), True, "version_draining"),
        (replace(old, status=VersionStatus.ARCHIVED), True, "version_not_published"),
        (made().version("0.1.0"), True, "version_not_published"),
    ):
        with pytest.raises(Conflict) as refused:
            require_startable(version, by_number=by_number)
        assert refused.value.code == code


@pytest.mark.parametrize("status", VersionStatus)
def test_which_agents_can_be_removed(status: VersionStatus) -> None:
    agent = brought(status)
    with pytest.raises(Conflict) as refused:
        agent.require_removable(1)
    assert refused.value.details["open_runs"] == 1
    if status in {VersionStatus.DRAFT, VersionStatus.APPROVED, VersionStatus.ARCHIVED}:
        agent.require_removable(0)
    else:
        with pytest.raises(Conflict) as refused:
            agent.require_removable(0)
        assert refused.value.details == {"versions": ["0.1.0"], "open_runs": 0}


def test_versions_are_found_by_id_and_number_and_there_is_an_end_of_them() -> None:
    agent = two()
    assert agent.version("1.0.0") is agent.version("v2")
    assert agent.version(agent.versions[0].version_id.upper()).version_number == "0.1.0"
    with pytest.raises(Missing):
        agent.version("2.0.0")
    full = replace(agent, versions=(agent.versions[0],) * MOST_VERSIONS)
    with pytest.raises(Conflict) as refused:
        full.drafted("v9", "9.0.0", GOOD, "", act())
    assert refused.value.code == "too_many_versions"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Customer Support Agent", "customer-support-agent"),
        ("  Größe & Café!  ", "grosse-cafe"),
        ("a" * 63 + " b", "a" * 63),
        ("Помощник отдела", "pomoshchnik-otdela"),
        ("Βοηθός", "voithos"),
        ("مساعد العملاء", "msaad-alamla"),
        ("고객 지원", "gogaeg-jiweon"),
        ("ヘルプデスク", "herupudesuku"),
        ("Agent ٣", "agent-3"),
        ("Ж" * 100, "zh" * 32),
        ("客服", "agent-eae0efe2"),
        ("客服 bot", "bot-6ffd7daa"),
        ("订单 bot", "bot-976255f8"),
        ("客" + "a" * 100, "a" * 55 + "-bdafcda7"),
        ("--", None),
        ("☕ 🤖", None),
        ("0190aaaa-0000-7000-8000-000000000001", None),
    ],
)
def test_a_slug_follows_from_the_name(name: str, slug: str | None) -> None:
    if slug is not None:
        assert slug_of(name) == slug
        return
    with pytest.raises(Invalid) as refused:
        slug_of(name)
    assert refused.value.code == "slug_invalid"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "agent_name_invalid"),
        ({"slug": "a_b"}, "slug_invalid"),
        ({"description": "x" * 10_001}, "description_invalid"),
        ({"category": ""}, "category_invalid"),
        ({"tags": frozenset({""})}, "tags_invalid"),
        ({"tags": frozenset(map(str, range(51)))}, "tags_invalid"),
        ({"owner_id": ""}, "owner_invalid"),
        ({"owner_id": "x" * 256}, "owner_invalid"),
    ],
)
def test_what_people_are_told_makes_sense(changes: dict[str, object], code: str) -> None:
    with pytest.raises(DomainError) as refused:
        replace(Description("Name", "slug"), **changes)  # type: ignore[arg-type]  # each case names one
    assert refused.value.code == code


def test_all_problems_of_a_definition_are_listed_at_once() -> None:
    wrong = {
        "tools": "x",
        "max_iterations": True,
        "max_tokens": 1.5,
        "limits": [],
        "temperature": "hot",
        "fallbacks": ["a"],
    }
    assert [one.path for one in problems_of(wrong)] == [
        "system_prompt", "tools", "fallbacks", "max_iterations", "max_tokens", "limits", "temperature",
    ]  # fmt: skip
    bounds = {
        **GOOD,
        "limits": {"max_tokens": 0, "max_seconds": 10**9},
        "temperature": float("nan"),
        "system_prompt": " ",
    }
    assert [one.path for one in problems_of(bounds)] == [
        "system_prompt", "limits.max_tokens", "limits.max_seconds", "temperature",
    ]  # fmt: skip
    assert problems_of(GOOD, Offered(frozenset({"calculator"}))) == ()
    assert [one.path for one in problems_of(GOOD, Offered(frozenset()))] == ["tools[0]"]


@pytest.mark.parametrize(
    "roles", ["cfo", [], [""], ["cfo", 1], [["cfo"]], ["a\nb"], ["x" * 10_000], {"cfo": 1}, 1, False, ["cfo"] * 201]
)
def test_who_decides_is_said_right_or_not_at_all(roles: object) -> None:
    wrong = {**GOOD, "approval_roles": roles}
    assert {one.path.partition("[")[0] for one in problems_of(wrong)} == {"approval_roles"}
    with pytest.raises(Invalid) as refused:
        instructions_of(wrong)
    assert refused.value.code == "definition_invalid"


@pytest.mark.parametrize(("roles", "read"), [(["cfo", "admin"], ("cfo", "admin")), (None, ())])
def test_who_decides_is_read_as_it_was_said(roles: object, read: tuple[str, ...]) -> None:
    assert instructions_of({**GOOD, "approval_roles": roles}).approval_roles == read


def test_roles_that_leave_nobody_to_decide_are_a_problem() -> None:
    asked = {**GOOD, "approval_roles": ["ghost", "cfo"]}
    assert problems_of(asked) == problems_of(asked, Offered(deciders={"cfo", "admin"})) == ()
    (nobody,) = problems_of(asked, Offered(deciders={"admin", "legal"}))
    assert (nobody.path, "decided by admin, legal" in nobody.problem) == ("approval_roles", True)
    assert problems_of(GOOD, Offered(deciders={"admin"})) == ()


def test_what_a_definition_says_and_leaves_open() -> None:
    says = instructions_of({**GOOD, "model": "a/b", "fallbacks": ["c/d"], "limits": {"max_seconds": 60}, "other": {}})
    assert says.limits == Limits(max_steps=5, max_seconds=60)
    assert (says.models, says.tools, says.temperature) == (("a/b", "c/d"), ("calculator",), None)
    assert instructions_of({"system_prompt": "x", "tools": []}).tools == ()
    with pytest.raises(Invalid) as refused:
        instructions_of({})
    assert refused.value.code == "definition_invalid"


@pytest.mark.parametrize("definition", [{"a": float("inf")}, {"a": {1}}, {"a": 10**400}, {"a": object()}])
def test_a_draft_takes_any_json_and_nothing_else(definition: dict[str, object]) -> None:
    with pytest.raises(Invalid) as refused:
        made(definition=definition)
    assert refused.value.code == "definition_malformed"


def test_differences_name_places_within_objects() -> None:
    before = {"a": {"b": 1, "c": [1]}, "d": 2, "e~/": 0}
    after = {"a": {"b": 1.0, "c": [2]}, "e~/": 1, "f": None}
    assert [(one.path, one.kind) for one in differences(before, after)] == [
        ("/a/c", "changed"), ("/d", "removed"), ("/e~0~1", "changed"), ("/f", "added"),
    ]  # fmt: skip
    assert differences(before, before) == ()


def test_a_definition_names_to_whom_its_runs_are_charged() -> None:
    charged = {**GOOD, "metadata": {"department": "sales", "cost_center": 4711, "owner": ["ada"]}}
    assert instructions_of(charged).attribution == Attribution("sales", "4711")
    assert instructions_of({**GOOD, "metadata": ["any"]}).attribution == Attribution()
    wrong = {**GOOD, "metadata": {"department": ["sales"], "cost_center": ""}}
    assert [one.path for one in problems_of(wrong)] == ["metadata.department", "metadata.cost_center"]
