"""Mapping of provider failures to model failures, by class, status and code, never by text."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from taskforce.core.domain.redaction import redact
from taskforce.core.domain.retry_after import retry_after
from taskforce.core.domain.runs.reply_times import BETWEEN_TOKENS, FIRST_TOKEN
from taskforce.core.interfaces.llm import ModelFailure, ModelLimited, ModelRefused, ModelUnavailable
from taskforce.infrastructure.llm.chat_endpoint import key_missing
from taskforce.infrastructure.llm.model_selection import key_variable
from taskforce.infrastructure.llm.provider_errors import NotAnApiError, Quoted, ReplyTooLongError, StreamBrokenError
from taskforce.infrastructure.llm.reply_timer import ReplyLateError

LONGEST_DETAIL = 300

KEY_INVALID = "model_key_invalid"
PAYMENT_REQUIRED = "model_payment_required"
FORBIDDEN = "model_forbidden"
NOT_FOUND = "model_not_found"
CONTEXT_TOO_LONG = "model_context_too_long"
CONTENT_REFUSED = "model_content_refused"
REQUEST_INVALID = "model_request_invalid"
ENDPOINT_INVALID = "model_endpoint_invalid"
REPLY_TOO_LONG = "model_reply_too_long"
REPLY_TOO_SLOW = "model_reply_too_slow"

ANOTHER_MODEL_MAY = frozenset({CONTEXT_TOO_LONG, CONTENT_REFUSED, REPLY_TOO_LONG, REPLY_TOO_SLOW})
"""Refusals by this model alone: the next fallback may have a larger context, another content policy, fewer words."""

PAID_IN_VAIN = frozenset({REPLY_TOO_LONG, REPLY_TOO_SLOW})
"""Refusals of replies that were paid for: the same again would cost the same."""

_TIMEOUT = 408
_TOO_MANY = 429
_TRANSIENT = frozenset({_TIMEOUT, 409, 425})
_MESSAGES = {
    KEY_INVALID: "The provider of {model} does not accept the API key: check {key}.",
    PAYMENT_REQUIRED: "The provider of {model} wants to be paid first: check the account's credit and its quota.",
    FORBIDDEN: "The API key in {key} may not use {model}: check its rights at the provider.",
    NOT_FOUND: "The provider does not know {model}: check the model's name.",
    CONTEXT_TOO_LONG: "The conversation is too long for {model}: use a model with a larger context.",
    CONTENT_REFUSED: "The provider of {model} refuses this content.",
    REQUEST_INVALID: "{model} refused the request.",
}
_BY_STATUS = {401: KEY_INVALID, 402: PAYMENT_REQUIRED, 403: FORBIDDEN, 404: NOT_FOUND}
_BY_CLASS = {"ContextWindowExceededError": CONTEXT_TOO_LONG, "ContentPolicyViolationError": CONTENT_REFUSED}
_BY_CODE = {
    PAYMENT_REQUIRED: (
        "insufficient_quota",
        "insufficient_user_quota",
        "insufficient_balance",
        "insufficient_credits",
        "exceeded_current_quota_error",
        "credit_balance_too_low",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "payment_required",
        "arrearage",
    ),
    CONTEXT_TOO_LONG: (
        "context_length_exceeded",
        "context_length_error",
        "context_window_exceeded",
        "exceed_context_size_error",
        "model_context_window_exceeded",
        "prompt_too_long",
        "request_too_large",
    ),
    CONTENT_REFUSED: (
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "moderation_blocked",
        "responsibleaipolicyviolation",
        "sensitive_content",
    ),
    KEY_INVALID: ("invalid_api_key", "incorrect_api_key", "authentication_error"),
    NOT_FOUND: ("model_not_found", "deploymentnotfound", "model_not_exist"),
}
_CODES = {word: code for code, words in _BY_CODE.items() for word in words}
_NO_ADDRESS = frozenset({"UnsupportedProtocol", "InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError"})


def failure_of(
    error: Exception, model: str, *, missing_keys: Sequence[str] = (), secrets: Sequence[str] = ()
) -> ModelFailure:
    """Maps an exception of LiteLLM, or of the OpenAI wire client, to a model failure.

    Args:
        error: The exception.
        model: The LiteLLM name that was called.
        missing_keys: Variables that LiteLLM misses for this model, when nothing answered at all.
        secrets: Values that must not appear in a message.

    Returns:
        The failure to raise, not chained to `error`: what a library says may quote a key.
    """
    if isinstance(error, ModelFailure):
        return error
    if missing_keys:
        return key_missing(model, missing_keys)
    chain = tuple(_chain(error))
    address = next((one for one in chain if isinstance(one, NotAnApiError)), None)
    if address is not None or any(type(one).__name__ in _NO_ADDRESS for one in chain):
        return _no_endpoint(address or NotAnApiError("it is no URL"), model, secrets)
    too_long = next((one for one in chain if isinstance(one, ReplyTooLongError)), None)
    if too_long is not None:
        return _too_long(too_long, model)
    late = next((one for one in chain if isinstance(one, ReplyLateError)), None)
    if late is not None:
        return _late(late, model)
    return _passing(chain, model) or _refusal(chain, model, secrets) or _failed(chain, model)


def _passing(chain: Sequence[BaseException], model: str) -> ModelFailure | None:
    """Maps a broken stream, a timeout or a rate limit, which a later attempt may overcome."""
    if any(isinstance(one, StreamBrokenError) for one in chain):
        return _unavailable("model_stream_broken", f"The reply of {model} broke off.", model, chain)
    status = _status(chain)
    # A quota that is used up comes as 429 too, and waiting does not mend it.
    if status == _TOO_MANY and refusal_code(chain[0]) != PAYMENT_REQUIRED:
        return _limited(chain, model)
    if any(isinstance(one, TimeoutError) for one in chain) or status == _TIMEOUT:
        return _unavailable("model_timeout", f"{model} did not answer in time.", model, chain)
    return None


def _refusal(chain: Sequence[BaseException], model: str, secrets: Sequence[str]) -> ModelFailure | None:
    status, code = _status(chain), refusal_code(chain[0])
    refused = status is not None and 400 <= status < 500 and status not in _TRANSIENT  # noqa: PLR2004  the 4xx family
    if code is None and not refused:
        return None
    return _refused(chain[0], code or _BY_STATUS.get(status or 0, REQUEST_INVALID), model, status, secrets)


def _failed(chain: Sequence[BaseException], model: str) -> ModelFailure:
    status = _status(chain)
    failed = f"{model} cannot be reached or failed" + (f" (status {status})." if status else ".")
    return _unavailable("model_unavailable", failed, model, chain)


def refusal_code(error: BaseException) -> str | None:
    """Returns the code of a provider's refusal by its class and code, whatever status it came with.

    Args:
        error: The exception.

    Returns:
        Our code, or None where neither says.
    """
    chain = tuple(_chain(error))
    # By name: importing LiteLLM's classes would load the library, which takes seconds, outside `litellm_model`.
    names = {cls.__name__ for one in chain for cls in type(one).__mro__}
    by_class = next((code for name, code in _BY_CLASS.items() if name in names), None)
    return by_class or next((_CODES[word] for word in _words(chain) if word in _CODES), None)


def nothing_answered(error: Exception) -> bool:
    """Returns whether the failure arose before any server answered, as for a missing key."""
    return not any(_headers(one) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception and those within: LiteLLM wraps a stream's failure, and an inner one has the status."""
    seen: set[int] = set()
    queue: list[BaseException] = [error]
    while queue:
        one = queue.pop(0)
        # Causes and contexts of exceptions may form a ring.
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            inner = (getattr(one, "original_exception", None), one.__cause__, one.__context__)
            queue += [each for each in inner if isinstance(each, BaseException)]


def _words(chain: Sequence[BaseException]) -> Iterator[str]:
    """Returns codes and types of the error objects, nested ones included."""
    for one in chain:
        body = getattr(one, "body", None)
        for place in (body, _within(body, "error"), _within(body, "innererror")):
            for name in ("code", "type", "status"):
                code = place.get(name) if isinstance(place, Mapping) else None
                if isinstance(code, str):
                    yield code.lower()


def _within(body: object, name: str) -> object:
    return body.get(name) if isinstance(body, Mapping) else None


def _status(chain: Sequence[BaseException]) -> int | None:
    """Returns the HTTP status; an error that is sent as an event has it in the body, and LiteLLM reports 500 then."""
    for one in chain:
        code = _within(getattr(one, "body", None), "code")
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


def _refused(error: BaseException, code: str, model: str, status: int | None, secrets: Sequence[str]) -> ModelFailure:
    # So LiteLLM reports a name for which it knows no provider; nothing was sent.
    if code == REQUEST_INVALID and getattr(error, "llm_provider", None) == "":
        text = f"No provider is known for {model!r}: name it as provider/model, for example openai/gpt-4o-mini."
        return ModelRefused(NOT_FOUND, redact(text, secrets), details={"model": model})
    message = _MESSAGES[code].format(model=model, key=key_variable(model))
    if code == REQUEST_INVALID:
        message = f"{message} It said: {_detail(error, secrets)}"
    return ModelRefused(code, redact(message, secrets), details={"model": model, "status": status})


def _no_endpoint(error: NotAnApiError, model: str, secrets: Sequence[str]) -> ModelFailure:
    """Builds the refusal of an address that is no API: retrying is of no use; the message names what was seen."""
    seen = error.seen(lambda text: redact(text, secrets))
    text = f"The base URL of {model} leads to no chat completions API (it often ends in /v1): {seen}."
    return ModelRefused(ENDPOINT_INVALID, redact(text, secrets), details={"model": model})


def _too_long(error: ReplyTooLongError, model: str) -> ModelFailure:
    text = f"The reply of {model} is one JSON document of more than {error.most:,} bytes, which is more than is read."
    return ModelRefused(REPLY_TOO_LONG, text, details={"model": model, "bytes": error.most})


def _late(error: ReplyLateError, model: str) -> ModelFailure:
    """Builds the failure of a reply that used up a time: a silence may pass, a whole reply will cost the same again."""
    details = {"model": model, "limit": error.limit}
    where = (
        f"Its limit is {error.limit}: set it in the agent's `limits` or the profile's `agent.limits`, also for one "
        "model by `models` there, up to the profile's `llm.max_reply_seconds`."
    )
    within = f"{error.seconds:g} s"
    if error.limit == FIRST_TOKEN:
        return ModelUnavailable(
            "model_timeout", f"{model} did not begin to reply in {within}. {where}", details=details
        )
    if error.limit == BETWEEN_TOKENS:
        return ModelUnavailable(
            "model_stalled", f"{model} fell silent within a reply for {within}. {where}", details=details
        )
    return ModelRefused(REPLY_TOO_SLOW, f"{model} did not finish a reply in {within}. {where}", details=details)


def _detail(error: BaseException, secrets: Sequence[str]) -> str:
    said = getattr(error, "message", None) or str(error)
    return Quoted(str(said), LONGEST_DETAIL).shown(lambda text: redact(text, secrets))


def _unavailable(code: str, message: str, model: str, chain: Sequence[BaseException]) -> ModelFailure:
    details = {"model": model, "status": _status(chain)}
    return ModelUnavailable(code, message, retry_after=_wait(chain), details=details)


def _wait(chain: Sequence[BaseException]) -> float | None:
    waits = (retry_after(_headers(one), datetime.now(UTC)) for one in chain)
    return next((seconds for seconds in waits if seconds is not None), None)


def _headers(error: BaseException) -> Mapping[str, str]:
    """Returns the response headers; LiteLLM puts made-up responses without headers on some exceptions."""
    response = getattr(error, "response", None)
    places = (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None))
    for headers in (*places, getattr(error, "headers", None)):
        if isinstance(headers, Mapping) and headers:
            return headers
    return {}
