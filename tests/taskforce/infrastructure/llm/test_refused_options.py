import pytest

from taskforce.infrastructure.llm.provider_errors import ProviderError
from taskforce.infrastructure.llm.refused_options import (
    MOST_REMEMBERED,
    REASONING_REQUIRED,
    REMEMBERED_SECONDS,
    RefusedOptions,
    refused_option,
    without,
)

ASKED = {"stream": True, "temperature": 0.5, "max_tokens": 99, "stream_options": {}, "messages": []}


def refusing(said: str, status: int = 400, **body: object) -> ProviderError:
    return ProviderError(status, body, {}, said)


@pytest.mark.parametrize(
    ("error", "option"),
    [
        (refusing("Extra inputs are not permitted: stream_options"), "stream_options"),
        (refusing("Unsupported value: 'temperature' does not support 0.5 with this model."), "temperature"),
        (refusing("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."), "max_tokens"),
        (refusing("not like this", param="temperature"), "temperature"),
        (refusing("not like this", 422, detail=[{"loc": ["body", "stream_options"]}]), "stream_options"),
        (refusing("not like this", message={"detail": [{"loc": ["body", "temperature"]}]}), "temperature"),
        (refusing("Your organization must be verified to stream.", param="stream"), "stream"),
        (refusing("Unsupported value: 'stream' does not support true with this model."), "stream"),
        (refusing("the value of my_temperature_sensor is wrong"), None),
        (refusing("top_p is refused", param="top_p"), None),
        (refusing("I stream what I like"), None),
        (refusing("'temperature' is too hot", 500), None),
        (refusing("'temperature' is too hot", 401), None),
        (refusing("max_completion_tokens is not known"), None),
    ],
)
def test_a_refusal_is_about_an_option_that_was_sent(error: ProviderError, option: str | None) -> None:
    assert refused_option(error, ASKED) == option


class TestReasoning:
    BARE = {"role": "assistant", "content": "x"}

    def test_is_wanted_where_messages_lack_it(self) -> None:
        error = refusing("The reasoning_content in the thinking mode must be passed back to the API.")
        assert refused_option(error, {"messages": [{"role": "user"}, self.BARE]}) == REASONING_REQUIRED

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    def test_is_refused_where_messages_have_it(self, field: str) -> None:
        error = refusing(f"'messages.1' : property '{field}' is unsupported")
        assert refused_option(error, {"messages": [{**self.BARE, field: "hm"}]}) == field

    def test_is_not_meant_by_the_word_alone(self) -> None:
        assert refused_option(refusing("no reasoning is possible"), {"messages": [self.BARE]}) is None


@pytest.mark.parametrize(
    ("refused", "left"),
    [
        ({"temperature"}, {"max_tokens": 9, "stream": True, "stream_options": {}}),
        ({"max_tokens"}, {"temperature": 1, "max_completion_tokens": 9, "stream": True, "stream_options": {}}),
        ({"max_tokens", "max_completion_tokens"}, {"temperature": 1, "stream": True, "stream_options": {}}),
        ({"stream"}, {"temperature": 1, "max_tokens": 9}),
    ],
)
def test_what_is_refused_is_left_out_or_renamed(refused: set[str], left: dict[str, object]) -> None:
    body = {"temperature": 1, "max_tokens": 9, "stream": True, "stream_options": {}}
    assert without(body, frozenset(refused)) == left


def test_it_is_remembered_for_a_while_for_each_model() -> None:
    now = [0.0]
    refused = RefusedOptions(lambda: now[0])
    refused.add("openai/a", "temperature")
    refused.add("openai/a", "stream")
    assert refused.of("openai/a") == {"temperature", "stream"}
    assert refused.of("openai/b") == frozenset()
    now[0] = REMEMBERED_SECONDS + 1
    assert refused.of("openai/a") == frozenset()


def test_only_so_many_models_are_remembered() -> None:
    refused = RefusedOptions(lambda: 0.0)
    for number in range(MOST_REMEMBERED + 1):
        refused.add(f"openai/{number}", "stream")
    assert [bool(refused.of(f"openai/{number}")) for number in (0, 1)] == [False, True]
