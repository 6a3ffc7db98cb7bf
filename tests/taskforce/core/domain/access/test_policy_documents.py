"""The form of a policy document: every problem at once, and one canonical way to write it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.access.policy_documents import canonical, document_of, parse
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Invalid
from tests.taskforce.core.domain.access.policy_strategies import DOCUMENTS, Document, policy, rule


@given(DOCUMENTS)
def test_the_canonical_form_means_the_same(some: list[Document]) -> None:
    parsed = policy(*some)
    assert parse(document_of(parsed)) == parsed
    assert canonical(parse(json.loads(canonical(parsed)))) == canonical(parsed)


def test_the_canonical_form_is_one_for_all_that_means_the_same() -> None:
    one = rule(
        actions=["tool:read", "agent:*", "tool:read"],
        resources=[{"type": "tool"}, {"ids": ["b", "a", "b"], "type": "agent"}],
        when=[{"attribute": "user.n", "in": [2.0, True, "x", 1]}, {"time": {"days": ["sun", "mon"], "zone": "UTC"}}],
    )
    other = rule(
        when=[{"attribute": "user.n", "in": ["x", 1, 2, True]}, {"time": {"zone": "UTC", "days": ["mon", "sun"]}}],
        resources=[{"type": "agent", "ids": ["a", "b"]}, {"type": "tool"}],
        actions=["agent:*", "tool:read"],
    )
    assert canonical(policy(one)) == canonical(policy(other))
    assert canonical(policy(rule(when=[]))) == (
        '{"rules":[{"actions":["agent:execute"],"effect":"deny","id":"it"}],"version":1}'
    )
    assert canonical_hash(document_of(policy(one))) == canonical_hash(json.loads(canonical(policy(other))))


def problems(document: object) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        parse(document)
    assert refused.value.code == "policy_invalid"
    found = refused.value.details["problems"]
    assert isinstance(found, list)
    assert refused.value.details["count"] == len(found)
    return {one["path"]: one["problem"] for one in found}


def test_every_problem_is_told_at_once() -> None:
    time = {"zone": "Europe/Berlim", "days": ["sat", "sunday"], "from": "25:00", "until": "06:00"}
    bad: Document = {
        "id": "no good",
        "efect": "deny",
        "actions": ["agent:exekute", 7],
        "description": "x" * 501,
        "resources": [{"type": "agents"}, {"type": "agent", "ids": []}, "agent"],
        "roles": "admin",
        "users": ["a\x00", "\ud800", ""],
        "when": [
            {"attribute": "usr.department", "equals": "hr"},
            {"attribute": "user.department", "equals": None, "in": ["hr"]},
            {"attribute": "user.department", "equals": None},
            {"attribute": "user.", "in": ["hr", [1], 2**60]},
            {"attribute": "user.department", "present": "no"},
            {"resource_tags": {"hasany": ["red"]}},
            {"time": time, "equals": "x"},
            {"time": {"zone": "UTC", "from": "10:00", "to": "10:00"}},
            {"time": {"zone": "UTC"}},
            {"tiem": {}},
            "always",
        ],
    }
    give = rule(
        "allow", actions=["agent:read", "policy:manage", "*"], when=[{"attribute": "user.banned", "present": False}]
    )
    kind = rule("allow", resources=[{"type": "agent"}])
    found = problems({"version": 2, "rules": [bad, give, kind, 5], "rule": []})
    expected = {
        "version": "must be 1.",
        "rule": "is not known. Did you mean 'rules'?",
        "rules[0]": "'effect' is missing.",
        "rules[0].efect": "is not known. Did you mean 'effect'?",
        "rules[0].id": "must be 1 to 64 letters, digits, dots, underscores or hyphens, a letter or digit first.",
        "rules[0].actions[0]": "not 'agent:exekute'. Did you mean 'agent:execute'?",
        "rules[0].actions[1]": "must be a permission, one like 'agent:*', or '*', not 7.",
        "rules[0].description": "must be a text of 1 to 500 characters.",
        "rules[0].resources[0].type": "not 'agents'. Did you mean 'agent'?",
        "rules[0].resources[1].ids": "must not be empty",
        "rules[0].resources[2]": "must be an object.",
        "rules[0].roles": "must be a list.",
        "rules[0].users[0]": "must not have control characters or broken ones.",
        "rules[0].users[1]": "must not have control characters or broken ones.",
        "rules[0].users[2]": "must be a text of 1 to 256 characters.",
        "rules[0].when[0].attribute": "must be 'user.' or 'context.' and a name. Did you mean 'user'?",
        "rules[0].when[1]": "must have exactly one of equals, not_equals, in, not_in, present.",
        "rules[0].when[2].equals": "must be a text, a number up to 2^53, true or false",
        "rules[0].when[3].attribute": "must be 'user.' or 'context.' and a name.",
        "rules[0].when[3].in[1]": "must be a text, a number",
        "rules[0].when[3].in[2]": "must be a text, a number",
        "rules[0].when[4].present": "must be true or false.",
        "rules[0].when[5].resource_tags.hasany": "is not known. Did you mean 'has_any'?",
        "rules[0].when[5].resource_tags": "must have exactly one of has_any, has_all.",
        "rules[0].when[6].equals": "belongs to a condition on an attribute.",
        "rules[0].when[6].time.zone": "must be an IANA time zone, not 'Europe/Berlim'. Did you mean 'Europe/Berlin'?",
        "rules[0].when[6].time.days[1]": "must be one of mon, tue, wed, thu, fri, sat, sun, not 'sunday'.",
        "rules[0].when[6].time.from": "must be a time of day from '00:00' to '23:59', not '25:00'.",
        "rules[0].when[6].time.until": "is not known.",
        "rules[0].when[7].time": "ends when it begins",
        "rules[0].when[8].time": "must have at least one of days, from, to.",
        "rules[0].when[9].tiem": "is not known. Did you mean 'time'?",
        "rules[0].when[9]": "must have exactly one of attribute, resource_tags, time.",
        "rules[0].when[10]": "must be an object.",
        "rules[1].actions[1]": "is not for allow rules: only a role gives policy:manage.",
        "rules[1].actions[2]": "is not for allow rules: only a role gives audit:read, policy:manage",
        "rules[1].when[0].present": "is for deny rules only",
        "rules[1]": "must have 'resources'",
        "rules[2]": "must name its resources, by 'ids' for each type or by a condition on 'resource_tags'.",
        "rules[2].id": "is the id of rules[1] as well.",
        "rules[3]": "must be an object.",
    }
    assert {path: text for path, text in expected.items() if text not in found.get(path, "")} == {}
    assert found.keys() == expected.keys()


def at(zone: str) -> Document:
    return rule(when=[{"time": {"days": ["sat"], "zone": zone}}])


@pytest.mark.parametrize(
    ("document", "path", "told"),
    [
        (None, "document", "must be an object."),
        ({"version": 1}, "document", "'rules' is missing."),
        ({"version": True, "rules": []}, "version", "must be 1."),
        ({"version": 1, "rules": [rule(id=str(n)) for n in range(501)]}, "rules", "at most 500 entries, not 501"),
        ({"version": 1, "rules": [rule(users=["a"] * 1_001)]}, "rules[0].users", "at most 1000"),
        (
            {"version": 1, "rules": [rule(when=[{"resource_tags": {"has_any": ["a"]}}] * 21)]},
            "rules[0].when",
            "most 20",
        ),
        ({"version": 1, "rules": ["x" * 1_000_000]}, "document", "at most 1000000 characters"),
        ({"version": 1, "rules": [{"x": {1, 2}}]}, "document", "must be JSON."),
        ({"version": 1, "rules": [rule(when=[{"attribute": "user.a", "equals": float("nan")}])]}, "document", "finite"),
        (
            {"version": 1, "rules": [at("../UTC")]},
            "rules[0].when[0].time.zone",
            "IANA",
        ),
        (
            {"version": 1, "rules": [at("localtime")]},
            "rules[0].when[0].time.zone",
            "IANA",
        ),
    ],
)
def test_limits_of_a_document(document: object, path: str, told: str) -> None:
    found = problems(document)
    assert list(found) == [path]
    assert told in found[path]


def test_nonsense_is_counted_but_not_listed_without_end() -> None:
    with pytest.raises(Invalid) as refused:
        parse({"version": 1, "rules": [rule(id=f"r{n}", actions=["agent:exekute"] * 100) for n in range(20)]})
    listed = refused.value.details["problems"]
    assert isinstance(listed, list)
    assert len(listed) == 1_000
    assert refused.value.details["count"] == 2_000


WORDS = ["id", "effect", "actions", "resources", "when", "time", "zone", "attribute", "in", "equals", "ids", "type"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
)


@given(JSON, st.sampled_from(["rules", "when", "actions", "resources", "description"]))
def test_whatever_comes_in_is_read_or_refused(part: object, where: str) -> None:
    document = {"version": 1, "rules": part if where == "rules" else [rule() | {where: part}]}
    try:
        parsed = parse(document)
    except Invalid as refused:
        told = refused.code
    else:
        told = "" if parse(document_of(parsed)) == parsed else "read anew, it is another"
    assert told in ("", "policy_invalid")
