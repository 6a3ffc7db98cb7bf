"""Selection of models, and translation of the guide's variables to those that LiteLLM reads.

Pure functions of their arguments that need no LiteLLM: the gateway asks them too.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from urllib.parse import unquote

from taskforce.core.domain.errors import Invalid

MAX_REQUESTED = 5
OFFLINE_MODEL = "offline/demo"
"""The rule-based model of the project, for people without a key."""

_MODEL_NAME = re.compile(r"(?!.*//)[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_BY_KEY = (
    ("OPENAI_API_KEY", "openai/gpt-4o-mini"),
    ("ANTHROPIC_API_KEY", "anthropic/claude-haiku-4-5"),
)
_LITELLM_NAMES = (
    ("AZURE_API_KEY", ("AZURE_OPENAI_API_KEY",)),
    ("AZURE_API_BASE", ("AZURE_OPENAI_ENDPOINT",)),
    ("AZURE_API_VERSION", ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION")),
)
_KEY_VARIABLES = {"azure": "AZURE_OPENAI_API_KEY", "gemini": "GEMINI_API_KEY"}
_SECRET_HEADER = re.compile(r"(?i)authorization|key|token|secret|password|cookie")
_SECRET_ENDINGS = ("_KEY", "_TOKEN", "_SECRET", "PASSWORD")


def choose_models(
    environ: Mapping[str, str],
    *,
    requested: str | None = None,
    agent: Sequence[str] = (),
    profile_llm: str | None = None,
) -> tuple[str, ...]:
    """Chooses the models of a run: the nearest place that names one decides.

    Args:
        environ: The process's environment.
        requested: The model of the request; names separated by commas are a fallback list.
        agent: The agent's model and its fallbacks.
        profile_llm: The model of the profile's `llm` section.

    Returns:
        LiteLLM names, the preferred first: those of the request, of the agent, of the profile, of `TASKFORCE_MODEL`,
        a default for the key that is set, or `offline/demo` when nothing is configured.

    Raises:
        Invalid: `model_name_invalid`: what the request names cannot be a model.
    """
    named = (
        _checked(split_names(requested)),
        tuple(agent),
        split_names(profile_llm),
        split_names(environ.get("TASKFORCE_MODEL")),
    )
    return next((names for names in named if names), None) or (_default_model(environ),)


def require_offered(environ: Mapping[str, str], requested: Sequence[str], *, named: Collection[str] = ()) -> None:
    """Requires that the deployment offers the requested models: a name selects a key, or a server of the network.

    The deployment offers what it names itself (`named`, `TASKFORCE_MODEL`, the default for its key) and `offline/demo`;
    besides, what matches a pattern of `TASKFORCE_MODELS` or, where that is not set, what it holds a provider's key for.

    Args:
        environ: The process's environment.
        requested: What the request names.
        named: What profile and agent name.

    Raises:
        Invalid: `model_not_offered`; the message says what to set.
    """
    own = {OFFLINE_MODEL, _default_model(environ), *named, *split_names(environ.get("TASKFORCE_MODEL"))}
    listed = environ.get("TASKFORCE_MODELS")
    patterns = split_names(listed)
    for model in requested:
        matches = any(fnmatchcase(model, one) for one in patterns) if listed else _has_key(environ, model)
        if model not in own and not matches:
            remedy = f"add it to TASKFORCE_MODELS, which lists patterns such as {_provider(model)}/*"
            if not listed:
                remedy = f"set {key_variable(model)}, or {remedy}"
            raise Invalid("model_not_offered", f"{model} is not offered here. To offer it, {remedy}.")


def _provider(model: str) -> str:
    return model.partition("/")[0]


def _has_key(environ: Mapping[str, str], model: str) -> bool:
    usual = f"{_provider(model).upper().replace('-', '_')}_API_KEY"
    return "/" in model and any(environ.get(variable) for variable in (key_variable(model), usual))


def split_names(text: str | None) -> tuple[str, ...]:
    """Splits a fallback list.

    Args:
        text: Names separated by commas, or nothing.

    Returns:
        The names, without blanks.
    """
    return tuple(name for name in (part.strip() for part in (text or "").split(",")) if name)


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses a URL in the place of the model's name, which some of LiteLLM's providers would call."""
    if len(names) > MAX_REQUESTED or not all(_MODEL_NAME.fullmatch(name) for name in names):
        text = f"Name a model as provider/model, for example openai/gpt-4o-mini; at most {MAX_REQUESTED}, by commas."
        raise Invalid("model_name_invalid", text)
    return names


def _default_model(environ: Mapping[str, str]) -> str:
    deployment = environ.get("AZURE_OPENAI_DEPLOYMENT")
    if deployment:
        return f"azure/{deployment}"
    return next((model for key, model in _BY_KEY if environ.get(key)), OFFLINE_MODEL)


def litellm_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Translates the guide's variables into those that LiteLLM reads.

    Args:
        environ: The process's environment.

    Returns:
        Variables to add; one that is set already under LiteLLM's own name is left alone.
    """
    added: dict[str, str] = {}
    for name, ours in _LITELLM_NAMES:
        value = next((environ[one] for one in ours if environ.get(one)), None)
        if value and not environ.get(name):
            added[name] = value
    return added


def key_variable(model: str) -> str:
    """Returns the name of the variable that holds the key for a model, as people set it.

    Args:
        model: A LiteLLM name.

    Returns:
        For example `OPENAI_API_KEY`.
    """
    provider = _provider(model)
    return _KEY_VARIABLES.get(provider, f"{provider.upper().replace('-', '_')}_API_KEY")


def known_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Collects the values that must never appear in a text.

    Args:
        environ: The process's environment.

    Returns:
        Values of variables whose names end like those of secrets, without blanks around them, and of such headers in
        variables like `OTEL_EXPORTER_OTLP_HEADERS`.
    """
    values = [value.strip() for name, value in environ.items() if name.upper().endswith(_SECRET_ENDINGS)]
    lists = [value for name, value in environ.items() if name.upper().endswith("_HEADERS")]
    for name, _, value in (pair.partition("=") for one in lists for pair in one.split(",")):
        if _SECRET_HEADER.search(name):
            # After `Bearer` or `Basic`, which a text may leave out.
            values += unquote(value).split()[-1:]
    return tuple(value for value in values if value)
