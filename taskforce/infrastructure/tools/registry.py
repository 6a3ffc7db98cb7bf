"""Registry of the tools that a process has: discovers them, validates arguments, runs calls."""

import asyncio
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Self

import structlog
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.redaction import redact
from taskforce.core.domain.runs.todo import TodoList
from taskforce.core.interfaces.tools import ToolContext, ToolFailure, ToolSpec
from taskforce.infrastructure.tools import builtin
from taskforce.infrastructure.tools.argument_errors import complaints
from taskforce.infrastructure.tools.declaration import MisdeclaredToolError, Tool
from taskforce.infrastructure.tools.truncation import shortened

MAX_FAILURE = 1_000

log = structlog.stdlib.get_logger(__name__)


class ToolRegistry:
    """Implements `ToolRunner` with tools declared by `@tool`.

    Args:
        tools: The tools.
        secrets: Values that must not appear in what a failing tool tells the model.

    Raises:
        MisdeclaredToolError: Two tools have the same name.
    """

    def __init__(self, tools: Iterable[Tool], *, secrets: Iterable[str] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            self._add(tool)
        self._secrets = tuple(secrets)
        self._specs = MappingProxyType({name: tool.spec for name, tool in self._tools.items()})
        self._validators = {name: Draft202012Validator(spec.parameters) for name, spec in self._specs.items()}

    @classmethod
    def discover(cls, package: ModuleType = builtin, *, secrets: Iterable[str] = ()) -> Self:
        """Discovers every tool declared in a module of the package, in the order of their names.

        Args:
            package: The package of the modules; by default the built-in tools.
            secrets: Values that must not appear in what a failing tool tells the model.

        Raises:
            MisdeclaredToolError: A tool is declared wrongly, or two have the same name.
        """
        tools = [tool for module in _modules(package) for tool in _declared_in(module)]
        return cls(sorted(tools, key=lambda tool: tool.spec.name), secrets=secrets)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Returns the tools, to build a larger registry from."""
        return tuple(self._tools.values())

    def specs(self) -> Mapping[str, ToolSpec]:
        """Returns every tool's specification by its name."""
        return self._specs

    def problems(self, name: str, arguments: object) -> tuple[str, ...]:
        """Validates arguments against the tool's JSON Schema.

        Args:
            name: The tool's name as the model wrote it.
            arguments: Anything that JSON can carry.

        Returns:
            One sentence a problem, naming the place, of bounded length; empty when the arguments fit.
        """
        validator = self._validators.get(name)
        return (self._unknown(name),) if validator is None else complaints(validator, arguments)

    async def run(self, name: str, arguments: Mapping[str, object], context: ToolContext) -> object:
        """Runs a tool, within its own time limit.

        Args:
            name: The tool's name.
            arguments: Its arguments, already checked by `problems`.
            context: What it may use besides.

        Returns:
            A string, a `TodoList`, or anything that JSON can carry.

        Raises:
            ToolFailure: With a short text that the model can act on and that holds no secret, whatever the tool raised.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise ToolFailure(self._unknown(name))
        try:
            given = tool.coerced(arguments)
        except ValidationError as error:
            raise ToolFailure(self._harmless(_misfit(error))) from None
        try:
            return _carried(await _within_time(tool, given, context))
        except ToolFailure as failure:
            raise ToolFailure(self._harmless(str(failure))) from None
        except Unavailable:
            # A failure of the product, for example of the database: retried by Temporal, and never shown to the model.
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a tool's author may raise anything, the run goes on
            text = self._harmless(f"{type(error).__name__}: {error}")
            log.warning("tool_raised", tool=name, run_id=context.run_id, error=text, place=_place(error))
            # `from None`: Temporal would write the cause's text, which was not redacted, into the history.
            raise ToolFailure(text) from None

    def _add(self, tool: Tool) -> None:
        name = tool.spec.name
        if name in self._tools:
            places = (self._tools[name].function.__module__, tool.function.__module__)
            raise MisdeclaredToolError(f"Tool {name}: is declared twice, in {places[0]} and {places[1]}.")
        self._tools[name] = tool

    def _unknown(self, name: str) -> str:
        known = ", ".join(sorted(self._tools)) or "none"
        return f"{shortened(name, 64)}: is not a tool; the tools are: {shortened(known, MAX_FAILURE)}"

    def _harmless(self, text: str) -> str:
        return shortened(redact(text, self._secrets), MAX_FAILURE)


async def _within_time(tool: Tool, given: Mapping[str, object], context: ToolContext) -> object:
    clock = asyncio.timeout(tool.spec.timeout_seconds)
    try:
        async with clock:
            return await tool.call(given, context)
    except TimeoutError:
        # A TimeoutError of the tool's own is told like any other error of a tool.
        if not clock.expired():
            raise
        effect = "" if tool.spec.idempotent else " Whether it had an effect is unknown."
        raise ToolFailure(f"{tool.spec.name} was stopped after {tool.spec.timeout_seconds:g} s.{effect}") from None


def _modules(package: ModuleType) -> list[ModuleType]:
    found = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f"{package.__name__}.{name}") for name in found]


def _declared_in(module: ModuleType) -> list[Tool]:
    tools = (value for value in vars(module).values() if isinstance(value, Tool))
    # A tool that a module only imports is declared in another, and would be found twice.
    return list({id(tool): tool for tool in tools if tool.function.__module__ == module.__name__}.values())


def _carried(result: object) -> object:
    if isinstance(result, str | TodoList):
        return result
    # NaN and infinity are no JSON, and `jsonb` refuses them.
    carried: object = from_json(to_json(result, inf_nan_mode="strings"))
    return carried


def _misfit(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in p['loc']) or 'arguments'}: {p['msg']}" for p in problems[:10])


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else ""
