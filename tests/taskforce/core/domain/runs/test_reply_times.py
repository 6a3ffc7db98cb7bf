"""Time limits of a reply, as the deployment's profile and an agent's definition set them."""

from dataclasses import asdict

import pytest

from taskforce.core.domain.catalog.definition import instructions_of, problems_of
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.runs.reply_times import (
    LONGEST_REPLY,
    MOST_PATTERNS,
    REPLY_TIME_NAMES,
    ReplyTimes,
    ReplyTimeSettings,
    longest_call,
    reply_times,
)
from tests.fixtures.agents import GOOD

NOTHING = ReplyTimeSettings()


def test_names_are_the_fields() -> None:
    assert tuple(asdict(ReplyTimes())) == REPLY_TIME_NAMES


def test_the_agents_settings_go_before_the_deployments_and_those_of_a_model_before_those_of_all() -> None:
    deployment = ReplyTimeSettings(
        {"first_token_seconds": 10, "between_tokens_seconds": 20},
        {"ollama/*": {"first_token_seconds": 900}, "ollama/big": {"between_tokens_seconds": 90}},
    )
    agent = ReplyTimeSettings({"reply_seconds": 600}, {"ollama/big": {"reply_seconds": 700}})
    assert reply_times(("openai/a", "ollama/b", "ollama/big"), deployment, agent, 3_600) == {
        "openai/a": ReplyTimes(10, 20, 600),
        "ollama/b": ReplyTimes(900, 20, 600),
        "ollama/big": ReplyTimes(900, 90, 700),
    }
    assert reply_times(("openai/a",), NOTHING, NOTHING, 1) == {"openai/a": ReplyTimes()}


def test_an_agent_goes_no_further_than_the_deployment_lets_it() -> None:
    deployment = ReplyTimeSettings({"reply_seconds": 9_000})
    agent = ReplyTimeSettings({"first_token_seconds": 5_000})
    assert reply_times(("a/b",), deployment, agent, 3_600) == {"a/b": ReplyTimes(3_600, 180, 9_000)}


def test_a_call_has_time_for_each_of_its_models_twice() -> None:
    assert longest_call([ReplyTimes(reply_seconds=100), ReplyTimes(reply_seconds=7)]) == 214


@pytest.mark.parametrize("name", REPLY_TIME_NAMES)
def test_each_has_its_range_for_all_models_and_for_one(name: str) -> None:
    for fits in (1, LONGEST_REPLY):
        limits = {name: fits, "models": {"ollama/*": {name: fits}}}
        assert problems_of({**GOOD, "limits": limits}) == ()
        said = instructions_of({**GOOD, "limits": limits}).reply_times
        assert said == ReplyTimeSettings({name: fits}, {"ollama/*": {name: fits}})
    for beyond in (0, LONGEST_REPLY + 1, True, "9"):
        limits = {name: beyond, "models": {"ollama/*": {name: beyond}}}
        named = [one.path for one in problems_of({**GOOD, "limits": limits})]
        assert named == [f"limits.{name}", f"limits.models.ollama/*.{name}"]
    for settings in ({"general": {name: 0}}, {"models": {"a": {name: LONGEST_REPLY + 1}}}):
        with pytest.raises(Invalid) as refused:
            ReplyTimeSettings(**settings)
        assert refused.value.code == "limits_invalid"


@pytest.mark.parametrize(
    ("models", "path"),
    [
        ([], "limits.models"),
        ({f"a/{number}": {} for number in range(MOST_PATTERNS + 1)}, "limits.models"),
        ({"a/b": 60}, "limits.models.a/b"),
        ({"a/b": {"reply_second": 60}}, "limits.models.a/b"),
    ],
    ids=["a list", "too many", "a number", "a typing error"],
)
def test_what_is_no_limit_of_a_model_is_told(models: object, path: str) -> None:
    assert [one.path for one in problems_of({**GOOD, "limits": {"models": models}})] == [path]
