"""What a server said is quoted without secrets, also where the quotation ends in the middle of one."""

from collections.abc import AsyncIterator

import pytest

from taskforce.core.interfaces.llm import ChatMessage, ModelFailure, ModelRequest
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.wild_llm import Wild, WildLLM

KEY = "planted/correct-horse-battery-staple-of-forty-letters"
PLAIN = {"content-type": "text/plain"}


@pytest.fixture
async def wild(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WildLLM]:
    async with WildLLM() as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


@pytest.mark.parametrize("straddles", [10, 20, 40])
@pytest.mark.parametrize(
    ("answer", "most", "code"),
    [
        (lambda text: Wild([text.encode()], 200, PLAIN), 80, "model_endpoint_invalid"),
        (lambda text: Wild([text.encode()], 404, PLAIN), 80, "model_endpoint_invalid"),
        (lambda text: Wild([b"<title>" + text.encode() + b"</title>"]), 80, "model_endpoint_invalid"),
        (lambda text: Wild([], 302, {"location": "https://h/" + text}), 190, "model_endpoint_invalid"),
        (lambda text: Wild([], 200, {"content-type": text}), 80, "model_stream_broken"),
        (lambda text: Wild([b"ok"], 200, {"content-type": text}), 80, "model_endpoint_invalid"),
        (lambda text: Wild([text.encode()], 422, PLAIN), 300, "model_request_invalid"),
        (lambda text: Wild([b" " * 200 + text.encode()], 422, PLAIN), 300, "model_request_invalid"),
    ],
    ids=["body", "no such path", "title", "location", "nothing", "media type", "refusal", "refusal after blanks"],
)
async def test_a_key_at_the_end_of_a_quotation_goes(
    model: LiteLLMModel, wild: WildLLM, answer: object, most: int, code: str, straddles: int
) -> None:
    assert callable(answer)
    wild.says(answer("x" * (most - straddles) + KEY + "y" * 300))
    with pytest.raises(ModelFailure) as failed:
        await model.complete(ModelRequest(("openai/stub",), (ChatMessage("user", "Go."),)), lambda _: None)
    assert failed.value.code == code
    assert "planted" not in failed.value.message


async def test_braces_of_a_server_are_quoted(model: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(Wild([b"said {0} {!r} {x"], 200, {"content-type": "text/{1}"}))
    with pytest.raises(ModelFailure) as failed:
        await model.complete(ModelRequest(("openai/stub",), (ChatMessage("user", "Go."),)), lambda _: None)
    assert "with text/{1}: 'said {0} {!r} {x'" in failed.value.message
