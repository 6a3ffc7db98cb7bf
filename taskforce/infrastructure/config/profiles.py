"""Profiles: YAML files that configure an agent and a deployment."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Invalid, Missing
from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.runs.loop_limits import LOOP_RANGES, LoopLimits
from taskforce.core.domain.runs.reply_times import REPLY_TIME_NAMES, ReplyTimes, ReplyTimeSettings
from taskforce.core.domain.runs.run import AgentDefinition, Limits
from taskforce.infrastructure.config.sections import (
    AgentSection,
    ApprovalsSection,
    LlmSection,
    LoggingSection,
    MetricsSection,
    Name,
    PersistenceSection,
    RateLimitingSection,
    Section,
    ServiceLevelsSection,
    WorkflowConfigSection,
)
from taskforce.infrastructure.llm.model_selection import choose_models, require_offered, split_names

LARGEST_FILE = 1_000_000

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_ALWAYS_USED = ("profile", "agent", "approvals")
_FOUND_OUT = frozenset({"file", "missing", "problems"})  # by loading; not for the file to say
_CLOSE = 0.8


@dataclass(frozen=True, slots=True)
class MissingVariable:
    """Reports a `${VARIABLE}` without a value: an error only for the use of its section.

    Attributes:
        key: The key that refers to it, for example `llm.deployment_name`.
        variable: The variable's name.
    """

    key: str
    variable: str


class Profile(Section):
    """Holds a complete and checked profile. Sections that the product does not know are kept as they are.

    Attributes:
        profile: Its name.
        file: The file's name, for messages.
        problems: Warnings: unknown keys, variables that are not set.
        missing: Variables that are not set.
    """

    profile: Name
    agent: AgentSection = AgentSection()
    approvals: ApprovalsSection = ApprovalsSection()
    enterprise: Mapping[str, object] = Field(default_factory=dict)
    persistence: PersistenceSection = PersistenceSection()
    workflow_config: WorkflowConfigSection = WorkflowConfigSection()
    llm: LlmSection = LlmSection()
    metrics: MetricsSection = MetricsSection()
    service_levels: ServiceLevelsSection = ServiceLevelsSection()
    logging: LoggingSection = LoggingSection()
    rate_limiting: RateLimitingSection = RateLimitingSection()
    file: str = Field("", exclude=True)
    missing: tuple[MissingVariable, ...] = Field((), exclude=True)
    problems: tuple[str, ...] = Field((), exclude=True)

    def require(self, section: str) -> None:
        """Requires that a section which is about to be used lacks no variable.

        Args:
            section: For example `persistence`.

        Raises:
            Invalid: `profile_invalid`, naming file, key and variable.
        """
        lacking = [one for one in self.missing if one.key.split(".")[0] == section]
        if lacking:
            raise Invalid("profile_invalid", " ".join(_lack(self.file, one) for one in lacking))

    def models(self, environ: Mapping[str, str], requested: str | None = None) -> tuple[str, ...]:
        """Chooses the models of a run with this profile; see `choose_models`.

        Args:
            environ: The process's environment.
            requested: The model of the request, if it names one.

        Returns:
            LiteLLM names, the preferred first.

        Raises:
            Invalid: `profile_invalid`: the `llm` section would decide, and lacks a variable; `model_name_invalid` or
                `model_not_offered`: the request names what is no model, or none that the deployment offers.
        """
        agent = (self.agent.model, *self.agent.fallbacks) if self.agent.model else ()
        if not (requested or agent or environ.get("TASKFORCE_MODEL")):
            self.require("llm")
        chosen = choose_models(environ, requested=requested, agent=agent, profile_llm=self.llm.litellm_name)
        if split_names(requested):
            require_offered(environ, chosen, named=(*agent, *split_names(self.llm.litellm_name)))
        return chosen

    def definition(self, models: tuple[str, ...]) -> AgentDefinition:
        """Returns the agent definition that a run begins with.

        Args:
            models: LiteLLM names, the preferred first.
        """
        return AgentDefinition(
            agent_id=self.agent.id,
            name=self.agent.name or self.agent.id,
            system_prompt=self.agent.system_prompt,
            tools=self.agent.tools,
            models=models,
            temperature=self.llm.temperature,
            max_reply_tokens=self.llm.max_tokens,
            require_approval=self.agent.require_approval,
            approval=self.terms(),
            loop=self.loop_limits(),
            reply_times={model: ReplyTimes(**self.reply_times().of(model)) for model in models},
            attribution=Attribution.read(self.agent.metadata),
        )

    def loop_limits(self) -> LoopLimits:
        """Returns the loop limits of a run, where the agent's version sets none."""
        limits = self.agent.limits
        return LoopLimits(**{name: getattr(limits, name) for name in LOOP_RANGES})

    def reply_times(self) -> ReplyTimeSettings:
        """Returns the time limits of replies, where the agent's version sets none."""
        limits = self.agent.limits
        return ReplyTimeSettings(
            limits.model_dump(include=set(REPLY_TIME_NAMES), exclude_none=True),
            {
                pattern: times.model_dump(include=set(REPLY_TIME_NAMES), exclude_none=True)
                for pattern, times in limits.models.items()
            },
        )

    def limits(self) -> Limits:
        """Returns the limits of a run, unless the request asks for less."""
        limits = self.agent.limits
        return Limits(self.agent.max_iterations, limits.max_tokens, limits.max_seconds)

    def terms(self) -> Terms:
        """Returns the approval terms of tool calls."""
        rules = self.approvals
        return Terms(
            required_approvers=rules.required_approvers,
            allowed_roles=rules.allowed_roles,
            self_approval=rules.self_approval,
            expire_seconds=max(1, round(rules.expire_hours * 3_600)),
            signal_channel=rules.signal_channel,
        )


def list_profiles(directory: Path) -> tuple[str, ...]:
    """Lists the names of the profiles in a directory.

    Args:
        directory: The directory of the files.

    Returns:
        Names in alphabetical order; files with a name that no profile can have are left out.
    """
    return tuple(sorted(path.stem for path in directory.glob("*.yaml") if _NAME.fullmatch(path.stem)))


def load_profile(name: str, directory: Path, environ: Mapping[str, str]) -> Profile:
    """Loads `<directory>/<name>.yaml`, with `${NAME}` and `${NAME:-default}` taken from the environment.

    Args:
        name: The profile's name.
        directory: The directory of the files.
        environ: The variables.

    Returns:
        The profile, with what is odd about it in `problems`.

    Raises:
        Missing: `profile_not_found`.
        Invalid: `profile_invalid`: the file is not what a profile looks like, or a section that is always used lacks a
            variable. The message names file and key, and holds no value.
    """
    if not _NAME.fullmatch(name):
        raise _not_found(directory)
    raw = _parsed(_content(name, directory), f"{name}.yaml")
    missing: list[MissingVariable] = []
    filled = _filled(raw, "", environ, missing)
    profile = _validated(filled if isinstance(filled, dict) else {}, name, tuple(missing))
    for section in _ALWAYS_USED:
        profile.require(section)
    return profile


def _not_found(directory: Path) -> Missing:
    known = ", ".join(list_profiles(directory)) or "none"
    return Missing("profile_not_found", f"There is no such profile. Known profiles: {known}.")


def _content(name: str, directory: Path) -> str:
    path = directory / f"{name}.yaml"
    if not path.is_file():
        raise _not_found(directory)
    if path.stat().st_size > LARGEST_FILE:
        raise Invalid("profile_invalid", f"{path.name} is larger than {LARGEST_FILE} bytes.")
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise Invalid("profile_invalid", f"{path.name} cannot be read as UTF-8 text.") from None


def _parsed(content: str, file: str) -> Mapping[object, object]:
    try:
        raw = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if isinstance(mark, yaml.Mark) else ""
        raise Invalid("profile_invalid", f"{file}{place}: this is not valid YAML.") from None
    if not isinstance(raw, dict):
        raise Invalid("profile_invalid", f"{file} must hold a mapping with keys such as `profile` and `agent`.")
    return raw


def _filled(value: object, key: str, environ: Mapping[str, str], missing: list[MissingVariable]) -> object:
    """Substitutes variables; a value that lacks one becomes None, so that the default of its key applies."""
    if isinstance(value, dict):
        return {str(name): _filled(each, f"{key}.{name}".lstrip("."), environ, missing) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, f"{key}.{at}", environ, missing) for at, each in enumerate(value)]
    if not isinstance(value, str):
        return value
    found = tuple(_VARIABLE.finditer(value))
    lacking = [match["name"] for match in found if not environ.get(match["name"]) and match["default"] is None]
    missing += [MissingVariable(key, name) for name in lacking]
    return None if lacking else _VARIABLE.sub(lambda match: environ.get(match["name"]) or match["default"], value)


def _validated(filled: Mapping[str, object], name: str, missing: tuple[MissingVariable, ...]) -> Profile:
    file = f"{name}.yaml"
    try:
        given = {key: value for key, value in filled.items() if key not in _FOUND_OUT}
        found = Profile.model_validate({"profile": name, **given})
    except ValidationError as error:
        problems = [_complaint(file, detail) for detail in error.errors(include_url=False, include_input=False)]
        raise Invalid("profile_invalid", " ".join(problems), details={"problems": problems}) from None
    odd = (*_oddities(found, file), *(_lack(file, one) for one in missing))
    return found.model_copy(update={"file": file, "missing": missing, "problems": odd})


def _complaint(file: str, detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    return f"{file}: {key}: {detail['msg']}."


def _lack(file: str, one: MissingVariable) -> str:
    return f"{file}: {one.key} needs the environment variable {one.variable}, which is not set."


def _oddities(section: Section, file: str, path: str = "") -> Iterator[str]:
    """Lists unknown keys: at the top only likely typos, for whole sections may belong to other programs."""
    known = [name for name in type(section).model_fields if path or name not in _FOUND_OUT]
    for key in section.model_extra or {}:
        close = difflib.get_close_matches(key, known, n=1, cutoff=_CLOSE if not path else 0.6)
        if path or close:
            hint = f" Did you mean {close[0]}?" if close else ""
            yield f"{file}: {path}{key} is not known and has no effect.{hint}"
    for name in known:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _oddities(value, file, f"{path}{name}.")
