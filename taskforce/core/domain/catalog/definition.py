"""The definition of an agent: its validation, which lists all problems, and its parsed form. Unknown keys are kept."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from taskforce.core.domain.canonical_json import canonical_json
from taskforce.core.domain.document_reader import Part, Problems
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.json_limits import check_document, parts_in
from taskforce.core.domain.metering.attribution import COST_CENTER, DEPARTMENT, LABEL, Attribution, label
from taskforce.core.domain.runs.loop_limits import LOOP_RANGES
from taskforce.core.domain.runs.reply_times import (
    LONGEST_REPLY,
    MODEL_TIMES,
    MOST_PATTERNS,
    REPLY_TIME_NAMES,
    ReplyTimeSettings,
)
from taskforce.core.domain.runs.run import (
    DEFAULT_MAX_SECONDS,
    DEFAULT_MAX_STEPS,
    DEFAULT_MAX_TOKENS,
    HARD_MAX_SECONDS,
    HARD_MAX_STEPS,
    HARD_MAX_TOKENS,
    Limits,
)

LONGEST_DEFINITION = 60_000
MOST_VALUES = 1_000
"""Values of a definition, at most: loading an agent parses all of its versions, and the cost grows with their
values."""
MOST_NAMES = 200
MOST_FALLBACKS = 4
HOTTEST = 2.0
MOST_REPLY_TOKENS = 10_000_000

Definition = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools and models that the deployment offers to agents.

    Attributes:
        tools: Names of the tools; None accepts any name, where they are not known.
        model: Tells whether a model is offered, by its LiteLLM name.
        deciders: Roles by which somebody may decide the agent's tool calls; None accepts any, where they are not known.
    """

    tools: Collection[str] | None = None
    model: Callable[[str], bool] = bool
    deciders: Collection[str] | None = None


ANYTHING = Offered()
"""Accepts any tool and model, for programs that keep a catalog and run its agents elsewhere."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a definition with its path."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Instructions:
    """The parsed form of a valid definition.

    Attributes:
        system_prompt: The system message of every model call.
        tools: Names of the tools that the agent may use.
        require_approval: Tools of which each call needs an approval.
        approval_roles: Roles that may decide its calls, out of the allowed ones (guide 11.3); empty means all of these.
        models: LiteLLM names, the preferred first; empty leaves the choice to the deployment.
        limits: Limits of its runs.
        temperature: Sampling temperature, if set.
        max_reply_tokens: Cap of one reply, if set.
        loop: The `LoopLimits` that it sets; the others come from the deployment's profile.
        reply_times: The time limits of replies that it sets; likewise.
        attribution: To whom its runs are charged where their users' attributes do not say.
    """

    system_prompt: str
    tools: tuple[str, ...]
    require_approval: tuple[str, ...]
    approval_roles: tuple[str, ...]
    models: tuple[str, ...]
    limits: Limits
    temperature: float | None
    max_reply_tokens: int | None
    loop: Mapping[str, int] = field(default_factory=dict)
    reply_times: ReplyTimeSettings = field(default_factory=ReplyTimeSettings)
    attribution: Attribution = field(default_factory=Attribution)


def check_definition(definition: Definition) -> None:
    """Requires a definition that can be stored as a draft.

    Raises:
        Invalid: `definition_malformed`, `definition_too_large`.
    """
    require_few_values(definition)
    check_document(definition, "definition")
    try:
        length = len(canonical_json(definition))
    # Programs may pass Python objects that no JSON parser would return.
    except (TypeError, ValueError, OverflowError):
        raise Invalid("definition_malformed", "A definition is JSON, its numbers within a double's range.") from None
    if length > LONGEST_DEFINITION:
        raise _too_large()


def require_few_values(definition: object) -> None:
    """Requires at most as many values as a definition may have, before anything looks at each of them.

    Raises:
        Invalid: `definition_too_large`.
    """
    if parts_in(definition, MOST_VALUES) > MOST_VALUES:
        raise _too_large()


def _too_large() -> Invalid:
    text = f"A definition has at most {LONGEST_DEFINITION} characters of JSON, and at most {MOST_VALUES} values."
    return Invalid("definition_too_large", text)


def problems_of(definition: Definition, offered: Offered = ANYTHING) -> tuple[Problem, ...]:
    """Lists all problems that keep a definition from being run, in the order of the checks.

    Args:
        definition: The definition; unknown keys are ignored.
        offered: What the deployment offers.
    """
    return tuple(_problems(definition, offered))


def instructions_of(definition: Definition) -> Instructions:
    """Parses a definition without problems, such as every submitted one.

    Raises:
        Invalid: `definition_invalid` when it has problems; `details["problems"]` names them.
    """
    require_no_problems(problems_of(definition))
    limits = _mapping(definition.get("limits"))
    model = definition.get("model")
    return Instructions(
        system_prompt=str(definition["system_prompt"]),
        tools=_texts(definition["tools"]),
        require_approval=_texts(definition.get("require_approval")),
        approval_roles=_texts(definition.get("approval_roles")),
        models=(*((str(model),) if model else ()), *_texts(definition.get("fallbacks"))),
        limits=Limits(
            _whole(definition.get("max_iterations"), DEFAULT_MAX_STEPS),
            _whole(limits.get("max_tokens"), DEFAULT_MAX_TOKENS),
            _whole(limits.get("max_seconds"), DEFAULT_MAX_SECONDS),
        ),
        temperature=cast("float | None", definition.get("temperature")),
        max_reply_tokens=cast("int | None", definition.get("max_tokens")),
        loop=_set(limits, LOOP_RANGES),
        reply_times=ReplyTimeSettings(
            _set(limits, REPLY_TIME_NAMES),
            {
                pattern: _set(_mapping(one), REPLY_TIME_NAMES)
                for pattern, one in _mapping(limits.get(MODEL_TIMES)).items()
            },
        ),
        attribution=Attribution.read(_mapping(definition.get("metadata"))),
    )


def require_no_problems(problems: Collection[Problem]) -> None:
    """Requires that a definition has no problems.

    Raises:
        Invalid: `definition_invalid`; `details["problems"]` names every problem.
    """
    if problems:
        named = [{"path": one.path, "problem": one.problem} for one in problems]
        text = " ".join(f"{one.path}: {one.problem}" for one in problems)
        raise Invalid("definition_invalid", text[:2_000], details={"problems": named})


def _problems(definition: Definition, offered: Offered) -> Iterator[Problem]:
    prompt = definition.get("system_prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        yield Problem("system_prompt", "says what the model is told first, and is missing.")
    yield from _tools(definition, offered)
    yield from _approval_roles(definition.get("approval_roles"), offered)
    yield from _models(definition, offered)
    yield from _in_range(definition, "max_iterations", HARD_MAX_STEPS)
    yield from _in_range(definition, "max_tokens", MOST_REPLY_TOKENS)
    limits = definition.get("limits")
    if limits is not None and not isinstance(limits, Mapping):
        named = ", ".join((*LOOP_RANGES, *REPLY_TIME_NAMES, MODEL_TIMES))
        yield Problem("limits", f"holds max_tokens, max_seconds, {named}.")
    for name, most in (("max_tokens", HARD_MAX_TOKENS), ("max_seconds", HARD_MAX_SECONDS)):
        yield from _in_range(_mapping(limits), name, most, "limits.")
    for name, (least, most) in LOOP_RANGES.items():
        yield from _in_range(_mapping(limits), name, most, "limits.", least)
    yield from _reply_times(_mapping(limits))
    yield from _temperature(definition.get("temperature"))
    for name in (DEPARTMENT, COST_CENTER):
        value = _mapping(definition.get("metadata")).get(name)
        if value is not None and label(value) is None:
            yield Problem(f"metadata.{name}", LABEL)


def _reply_times(limits: Mapping[str, object]) -> Iterator[Problem]:
    for name in REPLY_TIME_NAMES:
        yield from _in_range(limits, name, LONGEST_REPLY, "limits.")
    models = limits.get(MODEL_TIMES)
    if models is not None and (not isinstance(models, Mapping) or len(models) > MOST_PATTERNS):
        yield Problem(f"limits.{MODEL_TIMES}", f"holds at most {MOST_PATTERNS} names or patterns of models.")
        return
    for pattern, times in _mapping(models).items():
        path = f"limits.{MODEL_TIMES}.{pattern[:80]}"
        if not isinstance(times, Mapping) or not set(times) <= set(REPLY_TIME_NAMES):
            yield Problem(path, f"holds {', '.join(REPLY_TIME_NAMES)}.")
        for name in REPLY_TIME_NAMES:
            yield from _in_range(_mapping(times), name, LONGEST_REPLY, f"{path}.")


def _tools(definition: Definition, offered: Offered) -> Iterator[Problem]:
    listed = definition.get("tools")
    if not _is_names(listed):
        yield Problem("tools", f"lists the names of at most {MOST_NAMES} tools; [] is none.")
    for place, name in enumerate(_texts(listed)):
        if offered.tools is not None and name not in offered.tools:
            known = ", ".join(sorted(offered.tools))
            yield Problem(f"tools[{place}]", f"there is no tool {name[:80]}; there are {known}.")
    asked = definition.get("require_approval")
    if asked is not None and not _is_names(asked):
        yield Problem("require_approval", f"lists the names of at most {MOST_NAMES} tools.")
    for place, name in enumerate(_texts(asked)):
        if name not in _texts(listed):
            yield Problem(f"require_approval[{place}]", f"{name[:80]} is none of the agent's tools.")


def _approval_roles(value: object, offered: Offered) -> Iterator[Problem]:
    # Parsed like `agent_terms` parses it: a malformed list that counts as none would let the default approvers decide.
    if value is None:
        return
    problems = Problems("definition_invalid", "definition")
    roles = Part(value, "approval_roles", problems).names(least=1)
    yield from (Problem(one["path"], one["problem"]) for one in problems.found)
    if roles and offered.deciders is not None and not problems.found and set(roles).isdisjoint(offered.deciders):
        known = ", ".join(sorted(offered.deciders)) or "only named people"
        told = f"narrows down who decides, and leaves nobody: its calls are decided by {known}."
        yield Problem("approval_roles", f"{told} An approval definition for its calls can allow other roles.")


def _models(definition: Definition, offered: Offered) -> Iterator[Problem]:
    model, fallbacks = definition.get("model"), definition.get("fallbacks")
    named: list[tuple[str, object]] = [] if model is None else [("model", model)]
    if fallbacks is not None:
        if not _is_names(fallbacks) or len(_texts(fallbacks)) > MOST_FALLBACKS:
            yield Problem("fallbacks", f"lists at most {MOST_FALLBACKS} models.")
        if model is None:
            yield Problem("fallbacks", "follow a model, and there is none.")
        named += [(f"fallbacks[{place}]", name) for place, name in enumerate(_texts(fallbacks))]
    for path, name in named:
        if not isinstance(name, str) or not offered.model(name):
            yield Problem(path, f"{str(name)[:80]!r} is no model that is offered here.")


def _in_range(
    holder: Mapping[str, object], name: str, most: int, prefix: str = "", least: int = 1
) -> Iterator[Problem]:
    # `True` is an int in Python, hence the check for bool.
    value = holder.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most):
        yield Problem(f"{prefix}{name}", f"is a whole number from {least} to {most}.")


def _temperature(value: object) -> Iterator[Problem]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= cast("float", value) <= HOTTEST):
        yield Problem("temperature", f"is a number from 0 to {HOTTEST:g}.")


def _is_names(value: object) -> bool:
    listed = isinstance(value, list | tuple) and len(value) <= MOST_NAMES
    return listed and all(isinstance(name, str) and name for name in cast("Collection[object]", value))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(name) for name in cast("Collection[object]", value)) if _is_names(value) else ()


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _set(holder: Mapping[str, object], names: Iterable[str]) -> dict[str, int]:
    return {name: cast("int", holder[name]) for name in names if holder.get(name) is not None}


def _whole(value: object, default: int) -> int:
    return default if value is None else cast("int", value)
