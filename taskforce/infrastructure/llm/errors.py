"""What a provider's failure means to us, told by its class and status and never by its text."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from taskforce.core.domain.redaction import redact
from taskforce.core.domain.retry_after import retry_after
from taskforce.core.interfaces.llm import ModelFailure, ModelLimited, ModelRefused, ModelUnavailable
from taskforce.infrastructure.llm.model_selection import key_variable

LONGEST_DETAIL = 300

_TIMEOUT = 408
_TOO_MANY = 429
_TRANSIENT = frozenset({_TIMEOUT, 409, 425})
_REFUSED = {
    401: ("model_key_invalid", "The provider of {model} does not accept the API key: check {key}."),
    402: ("model_payment_required", "The provider of {model} wants to be paid first: check the account's credit."),
    403: ("model_forbidden", "The API key in {key} may not use {model}: check its rights at the provider."),
    404: ("model_not_found", "The provider does not know {model}: check the model's name."),
}
_REFUSED_BY_CLASS = {
    "ContextWindowExceededError": (
        "model_context_too_long",
        "The conversation is too long for {model}: use a model with a larger context.",
    ),
    "ContentPolicyViolationError": ("model_content_refused", "The provider of {model} refuses this content."),
}


class StreamBrokenError(Exception):
    """A stream ended without saying that the reply was complete."""


def failure_of(
    error: Exception, model: str, *, missing_keys: Sequence[str] = (), secrets: Sequence[str] = ()
) -> ModelFailure:
    """Maps what LiteLLM raised.

    Args:
        error: The exception.
        model: The LiteLLM name that was called.
        missing_keys: Variables that LiteLLM misses for this model, when nothing answered at all.
        secrets: Values that must not appear in a message.

    Returns:
        The failure to raise, not chained to `error`: what a library says may quote a key.
    """
    chain = tuple(_chain(error))
    status = _status(chain)
    if missing_keys:
        return _key_missing(model, missing_keys)
    if any(isinstance(one, StreamBrokenError) for one in chain):
        return _unavailable("model_stream_broken", f"The reply of {model} broke off.", model, chain)
    if status == _TOO_MANY:
        return _limited(chain, model)
    if any(isinstance(one, TimeoutError) for one in chain) or status == _TIMEOUT:
        return _unavailable("model_timeout", f"{model} did not answer in time.", model, chain)
    if status is not None and 400 <= status < 500 and status not in _TRANSIENT:  # noqa: PLR2004  the 4xx family
        return _refused(error, chain, model, status, secrets)
    failed = f"{model} cannot be reached or failed" + (f" (status {status})." if status else ".")
    return _unavailable("model_unavailable", failed, model, chain)


def nothing_answered(error: Exception) -> bool:
    """Whether the failure arose before any server answered, as a missing key does."""
    return not any(_headers(one) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """LiteLLM wraps a failure of a stream; the one inside, and the provider's own below it, know the status."""
    seen: set[int] = set()
    queue: list[BaseException] = [error]
    while queue:
        one = queue.pop(0)
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            inner = (getattr(one, "original_exception", None), one.__cause__, one.__context__)
            queue += [each for each in inner if isinstance(each, BaseException)]


def _status(chain: Sequence[BaseException]) -> int | None:
    """An error that is sent as an event has its status in the body; LiteLLM calls it 500 then."""
    for one in chain:
        body = getattr(one, "body", None)
        code = body.get("code") if isinstance(body, dict) else None
        if code in (_TOO_MANY, str(_TOO_MANY)):
            return _TOO_MANY
    found = (getattr(one, "status_code", None) for one in chain)
    return next((status for status in found if isinstance(status, int)), None)


def _limited(chain: Sequence[BaseException], model: str) -> ModelFailure:
    wait = _wait(chain)
    hint = "" if wait is None else f"; it asks to wait {wait:.0f} s"
    return ModelLimited(
        "model_rate_limited",
        f"The provider of {model} limits our rate{hint}.",
        retry_after=wait,
        details={"model": model},
    )


def _refused(
    error: Exception, chain: Sequence[BaseException], model: str, status: int, secrets: Sequence[str]
) -> ModelFailure:
    names = {cls.__name__ for one in chain for cls in type(one).__mro__}
    by_class = next((found for name, found in _REFUSED_BY_CLASS.items() if name in names), None)
    if by_class is None and getattr(error, "llm_provider", None) == "":
        text = f"No provider is known for {model!r}: name it as provider/model, for example openai/gpt-4o-mini."
        return ModelRefused("model_not_found", redact(text, secrets), details={"model": model})
    code, text = by_class or _REFUSED.get(status, ("model_request_invalid", "{model} refused the request."))
    message = text.format(model=model, key=key_variable(model))
    if code == "model_request_invalid":
        message = f"{message} It said: {_detail(error, secrets)}"
    return ModelRefused(code, redact(message, secrets), details={"model": model, "status": status})


def _detail(error: Exception, secrets: Sequence[str]) -> str:
    said = getattr(error, "message", None) or str(error)
    return redact(" ".join(str(said).split()), secrets)[:LONGEST_DETAIL]


def _key_missing(model: str, variables: Sequence[str]) -> ModelFailure:
    names = " or ".join(dict.fromkeys([key_variable(model), *variables]))
    text = f"There is no API key for {model}: set {names} for the worker, or choose another model."
    return ModelRefused("model_key_missing", text, details={"model": model})


def _unavailable(code: str, message: str, model: str, chain: Sequence[BaseException]) -> ModelFailure:
    details = {"model": model, "status": _status(chain)}
    return ModelUnavailable(code, message, retry_after=_wait(chain), details=details)


def _wait(chain: Sequence[BaseException]) -> float | None:
    waits = (retry_after(_headers(one), datetime.now(UTC)) for one in chain)
    return next((seconds for seconds in waits if seconds is not None), None)


def _headers(error: BaseException) -> Mapping[str, str]:
    """LiteLLM puts made-up responses, whose headers are empty, on some exceptions."""
    response = getattr(error, "response", None)
    for headers in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        if isinstance(headers, Mapping) and headers:
            return headers
    return {}
