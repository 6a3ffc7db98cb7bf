"""Every method that is marked as an activity is registered, and nothing else."""

import inspect
import pkgutil
from importlib import import_module

import pytest
from temporalio import activity

import activities
from activities.registration import activities_of
from taskforce.infrastructure.composition import use_cases
from worker import WorkerParts, build_activities
from workflows.client.client import WorkflowClient


class Greetings:
    @activity.defn(name="say_hello")
    async def hello(self) -> str:
        return "hello"

    async def unmarked(self) -> str:
        return "nothing"


def test_marked_methods_are_found_and_others_are_not() -> None:
    group = Greetings()
    assert activities_of(group) == [group.hello]


def test_a_group_without_activities_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="object has no activities"):
        activities_of(Greetings(), object())


async def test_the_worker_registers_every_activity_of_the_package(
    parts: WorkerParts, workflow_client: WorkflowClient
) -> None:
    declared: set[object] = set()
    for module in pkgutil.walk_packages(activities.__path__, "activities."):
        for _, group in inspect.getmembers(import_module(module.name), inspect.isclass):
            if group.__module__ == module.name:
                declared |= {method for _, method in inspect.getmembers(group) if _is_activity(method)}
    registered = [
        getattr(method, "__func__", None)
        for method in build_activities(parts, use_cases(parts.foundation), workflow_client)
    ]
    assert declared
    assert set(registered) == declared
    assert len(registered) == len(declared)


def _is_activity(method: object) -> bool:
    return inspect.isfunction(method) and activity._Definition.from_callable(method) is not None
