"""Finds the activities that a worker registers, by the attribute that `@activity.defn` sets on them."""

import inspect
from collections.abc import Callable
from typing import Any

_MARK = "__temporal_activity_definition"


def activities_of(*groups: object) -> list[Callable[..., Any]]:
    """Lists the activities of objects, in the order of the objects and of the methods' names.

    Args:
        *groups: Objects whose methods are activities, one for each noun.

    Raises:
        ValueError: An object has no activity, so that it was passed by mistake.
    """
    found: list[Callable[..., Any]] = []
    for group in groups:
        methods = [method for _, method in inspect.getmembers(group, inspect.ismethod) if hasattr(method, _MARK)]
        if not methods:
            raise ValueError(f"{type(group).__name__} has no activities.")
        found.extend(methods)
    return found
