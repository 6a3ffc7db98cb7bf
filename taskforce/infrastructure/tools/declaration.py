"""Declaration of tools: a typed Python function with a docstring becomes a tool.

The schema that the model is given follows from the signature and the docstring, so that the three cannot disagree; what
does not add up fails when the module is imported, not when a model calls.
"""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from docstring_parser import Docstring, DocstringStyle, parse
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, PydanticSchemaGenerationError, PydanticUserError, create_model
from pydantic.fields import FieldInfo

from taskforce.core.domain.tenants.tenant import FEATURES
from taskforce.core.interfaces.tools import ToolContext, ToolSpec

ToolFunction = Callable[..., Awaitable[object]]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TAG = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_DEFINITION = "#/$defs/"


class MisdeclaredToolError(TypeError):
    """Reports a function that cannot become a tool, at import; the text says which one and why."""


@dataclass(frozen=True, slots=True)
class Tool:
    """Describes a declared tool.

    Attributes:
        spec: Its specification, for the rest of the product.
        function: The function as it was written.
        arguments: Coerces a call's arguments to the annotated types.
        fields: The field of `arguments` for each parameter of the function.
        context_parameter: The parameter that takes the `ToolContext`, if there is one.
    """

    spec: ToolSpec
    function: ToolFunction
    arguments: type[BaseModel]
    fields: Mapping[str, str]
    context_parameter: str | None

    def coerced(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Returns the arguments as the types that the function is annotated with, defaults filled in.

        Raises:
            pydantic.ValidationError: They do not fit.
        """
        model = self.arguments.model_validate(dict(arguments))
        return {name: getattr(model, field) for name, field in self.fields.items()}

    async def call(self, given: Mapping[str, object], context: ToolContext) -> object:
        """Calls the function with coerced arguments; raises whatever it raises."""
        if self.context_parameter is None:
            return await self.function(**given)
        return await self.function(**given, **{self.context_parameter: context})


def tool(
    *,
    idempotent: bool | None = None,
    quick: bool = False,
    needs_approval: bool = False,
    asks_person: bool = False,
    timeout_seconds: float = 30.0,
    feature: str | None = None,
    tags: tuple[str, ...] = (),
) -> Callable[[ToolFunction], Tool]:
    """Declares an async function as a tool of the same name.

    Each parameter is annotated and described in the `Args:` of a Google docstring; the text before that is what the
    model reads about the tool. A parameter annotated `ToolContext` is filled in by the product and hidden from the
    model. Constraints go into annotations, for example `Annotated[int, Field(ge=0)]`.

    Args:
        idempotent: Running it twice has the effect of running it once. By default the value of `quick`.
        quick: In-process, in milliseconds, nothing outside is touched; implies idempotent.
        needs_approval: A person approves each call.
        asks_person: The run waits for a person's next message before the tool runs.
        timeout_seconds: Time for one attempt.
        feature: One of `FEATURES` that the tenant must have been given; the tool is there for no other tenant.
        tags: Words by which a tenant's approval definitions select it, `[a-z][a-z0-9_-]{0,63}`.

    Returns:
        The decorator.

    Raises:
        MisdeclaredToolError: By the decorator: what the function says of itself is missing or contradictory.
    """

    def declare(function: ToolFunction) -> Tool:
        name = _checked_name(function)
        if quick and idempotent is False:
            raise MisdeclaredToolError(f"Tool {name}: what is quick must be idempotent.")
        if timeout_seconds <= 0:
            raise MisdeclaredToolError(f"Tool {name}: timeout_seconds must be above 0.")
        if feature is not None and feature not in FEATURES:
            raise MisdeclaredToolError(f"Tool {name}: there is no feature {feature}; {', '.join(sorted(FEATURES))}.")
        if wrong := [one for one in tags if not _TAG.fullmatch(one)]:
            raise MisdeclaredToolError(f"Tool {name}: a tag matches {_TAG.pattern}, not {wrong[0]!r}.")
        docstring = _docstring(name, function)
        annotations, context_parameter = _annotations(name, function)
        descriptions = _descriptions(name, docstring, annotations, context_parameter)
        arguments, fields = _arguments_model(name, function, annotations, descriptions)
        spec = ToolSpec(
            name=name,
            description=_prose(docstring),
            parameters=_schema(name, arguments),
            idempotent=quick if idempotent is None else idempotent,
            quick=quick,
            needs_approval=needs_approval,
            asks_person=asks_person,
            timeout_seconds=timeout_seconds,
            feature=feature,
            tags=tags,
        )
        return Tool(spec, function, arguments, fields, context_parameter)

    return declare


def _checked_name(function: ToolFunction) -> str:
    name = getattr(function, "__name__", repr(function))
    if not _NAME.fullmatch(name):
        raise MisdeclaredToolError(f"Tool {name}: a tool's name matches {_NAME.pattern}.")
    if not inspect.iscoroutinefunction(function):
        raise MisdeclaredToolError(f"Tool {name}: must be declared with `async def`.")
    return name


def _docstring(name: str, function: ToolFunction) -> Docstring:
    docstring = parse(inspect.getdoc(function) or "", style=DocstringStyle.GOOGLE)
    if not docstring.short_description:
        raise MisdeclaredToolError(f"Tool {name}: needs a docstring that tells the model what the tool is for.")
    return docstring


def _prose(docstring: Docstring) -> str:
    return "\n\n".join(text for text in (docstring.short_description, docstring.long_description) if text)


def _annotations(name: str, function: ToolFunction) -> tuple[dict[str, object], str | None]:
    """Returns the annotation of each argument that the model gives, and the name of the context's parameter."""
    hints = typing.get_type_hints(function, include_extras=True)
    visible: dict[str, object] = {}
    contexts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise MisdeclaredToolError(f"Tool {name}: {parameter} cannot be given by name.")
        if parameter.name not in hints:
            raise MisdeclaredToolError(f"Tool {name}: argument {parameter.name} has no annotation.")
        if hints[parameter.name] is ToolContext:
            contexts.append(parameter.name)
        else:
            visible[parameter.name] = hints[parameter.name]
    if len(contexts) > 1:
        raise MisdeclaredToolError(f"Tool {name}: takes the context more than once.")
    return visible, contexts[0] if contexts else None


def _descriptions(
    name: str, docstring: Docstring, annotations: Mapping[str, object], context_parameter: str | None
) -> dict[str, str]:
    documented = {param.arg_name: " ".join((param.description or "").split()) for param in docstring.params}
    if undocumented := [argument for argument in annotations if not documented.get(argument)]:
        raise MisdeclaredToolError(f"Tool {name}: the docstring does not describe {', '.join(undocumented)}.")
    if invented := sorted(documented.keys() - annotations.keys() - {context_parameter}):
        raise MisdeclaredToolError(f"Tool {name}: the docstring describes {', '.join(invented)}, which it lacks.")
    return {argument: documented[argument] for argument in annotations}


def _arguments_model(
    name: str, function: ToolFunction, annotations: Mapping[str, object], descriptions: Mapping[str, str]
) -> tuple[type[BaseModel], dict[str, str]]:
    # Fields are renamed: an argument may be called `json` or `model_x`, names that pydantic reserves.
    parameters = inspect.signature(function).parameters
    fields = {argument: f"argument_{index}" for index, argument in enumerate(annotations)}
    definitions: dict[str, typing.Any] = {
        fields[argument]: (annotation, _field(parameters[argument], descriptions[argument]))
        for argument, annotation in annotations.items()
    }
    try:
        model = create_model(name, __config__=ConfigDict(extra="forbid"), **definitions)
        # For its errors only: pydantic takes some types that have no JSON Schema.
        model.model_json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise MisdeclaredToolError(f"Tool {name}: an argument has no JSON Schema: {error.message}") from error
    return model, fields


def _field(parameter: inspect.Parameter, description: str) -> FieldInfo:
    required = parameter.default is inspect.Parameter.empty
    default: object = ... if required else parameter.default
    field = Field(default=default, alias=parameter.name, description=description)
    return typing.cast("FieldInfo", field)


def _schema(name: str, model: type[BaseModel]) -> dict[str, object]:
    generated = model.model_json_schema()
    definitions = generated.pop("$defs", {})
    schema = _plain(name, generated, definitions, ())
    if not isinstance(schema, dict):
        raise MisdeclaredToolError(f"Tool {name}: its arguments are not an object.")
    Draft202012Validator.check_schema(schema)
    return schema


def _plain(name: str, node: object, definitions: Mapping[str, object], within: tuple[str, ...]) -> object:
    """Inlines schema definitions and drops generated titles.

    Models read that better, and some APIs take no references.
    """
    if isinstance(node, list):
        return [_plain(name, item, definitions, within) for item in node]
    if not isinstance(node, dict):
        return node
    if (reference := node.get("$ref")) is not None:
        target = str(reference).removeprefix(_DEFINITION)
        if target in within:
            raise MisdeclaredToolError(f"Tool {name}: the type {target} contains itself.")
        named = definitions[target]
        merged = {**(named if isinstance(named, dict) else {}), **{k: v for k, v in node.items() if k != "$ref"}}
        return _plain(name, merged, definitions, (*within, target))
    return _object_node(name, node, definitions, within)


def _object_node(
    name: str, node: Mapping[str, object], definitions: Mapping[str, object], within: tuple[str, ...]
) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, value in node.items():
        if key == "properties" and isinstance(value, dict):
            plain[key] = {argument: _plain(name, inner, definitions, within) for argument, inner in value.items()}
        # Data and not schemas: a value in them may have a member named `title`.
        elif key in ("default", "enum", "const", "examples"):
            plain[key] = value
        elif key != "title":
            plain[key] = _plain(name, value, definitions, within)
    if "properties" in plain:
        # So that the model is told of an argument that it misspelt, also within an object.
        plain.setdefault("additionalProperties", False)
    return plain
