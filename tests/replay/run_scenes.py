"""Every way in which a run ends."""

import asyncio
from collections.abc import Mapping

from taskforce.application.runs.kill_switches import pull_switch, release_switch
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.kill_switches import SwitchScope, SwitchTarget
from taskforce.core.domain.runs.run import Limits
from tests.fixtures.agents import make_acting
from tests.fixtures.missions import now
from tests.fixtures.probe_tools import TRANSFERS
from tests.fixtures.scripted_llm import Body, Reply, hang, held, status, text, tool_calls
from tests.replay.scene_runner import MODEL_CALLS, TOOL_CALLS, Stage, echoes, scene

LATE_SECONDS = 12
"""Twice a model's patience in a scene."""


@scene(run="completed")
async def completed(stage: Stage) -> str:
    stage.llm.script([tool_calls([("calculator", {"expression": "6*7"})]), text("42.")])
    return (await stage.missions.finish("What is six times seven?")).spec.run_id


@scene(run="usage_recorded")
async def usage_recorded(stage: Stage) -> str:
    stage.llm.script([echoes("a"), text("Done.")])
    return (await stage.missions.finish()).spec.run_id


@scene(run="tools_in_parallel")
async def tools_in_parallel(stage: Stage) -> str:
    plan = {"items": [{"text": "count", "status": "done"}]}
    calls: list[tuple[str, Mapping[str, object]]] = [
        ("echo", {"text": "one"}),
        ("echo_slowly", {"text": "two"}),
        ("no_such_tool", {}),
        ("todo_write", plan),
    ]
    stage.llm.script([tool_calls(calls), tool_calls([("echo_slowly", {"text": "three"})] * 3), text("Done.")])
    return (await stage.missions.finish()).spec.run_id


@scene(run="incomplete_by_steps")
async def incomplete_by_steps(stage: Stage) -> str:
    stage.llm.script([echoes("a"), echoes("b"), text("As far as I got.")])
    return (await stage.missions.finish(limits=Limits(max_steps=2))).spec.run_id


@scene(run="incomplete_by_tokens")
async def incomplete_by_tokens(stage: Stage) -> str:
    stage.llm.script([echoes("a")])
    return (await stage.missions.finish(limits=Limits(max_tokens=25))).spec.run_id


@scene(run="incomplete_by_time")
async def incomplete_by_time(stage: Stage) -> str:
    stage.llm.reply = lambda _: hang("Well, ")
    return (await stage.missions.finish(limits=Limits(max_seconds=2))).spec.run_id


@scene(run="model_retried")
async def model_retried(stage: Stage) -> str:
    stage.llm.script([status(500), text("Back again.")])
    return (await stage.missions.finish()).spec.run_id


@scene(run="failed")
async def failed(stage: Stage) -> str:
    stage.llm.script([echoes("a"), status(401)])
    return (await stage.missions.finish()).spec.run_id


@scene(run="cancelled")
async def cancelled(stage: Stage) -> str:
    stage.llm.script([hang("Thinking")])
    stage.llm.requests.clear()
    run_id = await stage.missions.start()
    await stage.llm.until(lambda llm: len(llm.requests) > 0)
    await stage.missions.workflow_client.runs.cancel(stage.missions.tenant_id, run_id)
    return (await stage.missions.ended(run_id)).spec.run_id


@scene(run="paused_and_resumed")
async def paused_and_resumed(stage: Stage) -> str:
    missions = stage.missions
    stage.llm.script([echoes("a"), text("Heard.")])
    run_id = await missions.start()
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "pause")
    await missions.event(run_id, "run.paused")
    await missions.say(run_id, "Mind the gap.")
    await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "resume")
    await missions.ended(run_id)
    return run_id


@scene(run="halted_and_let_go")
async def halted_and_let_go(stage: Stage) -> str:
    missions = stage.missions
    actor = await make_acting(missions.database, missions.tenant_id, "ada", now(), "admin")
    target = SwitchTarget(missions.tenant_id, SwitchScope.TENANT)
    asks = tool_calls([(tool, {"text": "a"}) for tool in ("echo", "echo_slowly")])
    run_id, replied = await stage.thinks(asks, text("Done."))
    await pull_switch(missions.database, actor, target, "A drill.")
    replied.set()
    await missions.event(run_id, "run.waiting")
    await release_switch(missions.database, actor, target)
    await missions.ended(run_id)
    return run_id


@scene(run="limits_raised")
async def limits_raised(stage: Stage) -> str:
    missions = stage.missions
    asks = tool_calls([("ask_user", {"question": "How far?"})])
    stage.llm.script([asks, *(echoes(str(number)) for number in range(9)), text("There.")])
    run_id = await missions.start(limits=Limits(max_steps=2))
    await missions.event(run_id, "run.waiting")
    await missions.raise_limits(run_id, max_steps=30)
    await missions.say(run_id, "All the way.")
    await missions.ended(run_id)
    return run_id


@scene(run="asked_a_person")
async def asked_a_person(stage: Stage) -> str:
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Blue it is.")])
    run_id = await stage.missions.start()
    await stage.missions.event(run_id, "run.waiting")
    await stage.missions.say(run_id, "Blue.")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="asked_a_person_twice")
async def asked_a_person_twice(stage: Stage) -> str:
    missions = stage.missions
    asks = [("ask_user", {"question": question}) for question in ("Which colour?", "Which size?")]
    stage.llm.script([tool_calls(asks), text("Thanks.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked", 2)
    await missions.say(run_id, "Large.", "1.2")
    await missions.say(run_id, "Blue.")
    await missions.ended(run_id)
    return run_id


@scene(run="answered_past_the_gateway")
async def answered_past_the_gateway(stage: Stage) -> str:
    missions, runs = stage.missions, stage.missions.workflow_client.runs
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Blue it is.")])
    run_id = await missions.start()
    await missions.event(run_id, "question.asked")
    await runs.signal(missions.tenant_id, run_id, "add_word", new_id(), "1.1")
    await runs.signal(missions.tenant_id, run_id, "add_word", new_id(), "")
    await stage.says_in_its_history(run_id, b"unanswered")
    await missions.say(run_id, "Blue.")
    await missions.ended(run_id)
    return run_id


@scene(run="incomplete_by_repetition")
async def incomplete_by_repetition(stage: Stage) -> str:
    stage.llm.script([echoes("a"), echoes("a"), text("It stays the same.")])
    return (await stage.missions.within(max_repeated_steps=2).finish()).spec.run_id


@scene(run="model_given_up")
async def model_given_up(stage: Stage) -> str:
    stage.llm.reply = lambda _: status(503)
    return (await stage.missions.within(model_patience_seconds=2).finish()).spec.run_id


@scene(run="continued_as_new")
async def continued_as_new(stage: Stage) -> str:
    plan = {"items": [{"text": "go on", "status": "in_progress"}]}
    steps = [echoes(str(number)) for number in range(18)]
    stage.llm.script([tool_calls([("todo_write", plan)]), *steps, text("There.")])
    return (await stage.missions.finish(limits=Limits(max_steps=30))).spec.run_id


@scene(run="database_away")
async def database_away(stage: Stage) -> str:
    missions = stage.missions
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})])])
    run_id = await missions.start()
    await missions.event(run_id, "run.waiting")
    await asyncio.to_thread(stage.servers.postgres.stop)
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await stage.falls_back(run_id, "finish_run")
    await asyncio.to_thread(stage.servers.postgres.start)
    await missions.ended(run_id)
    return run_id


@scene(run="tools_awaited_their_turn")
async def tools_awaited_their_turn(stage: Stage) -> str:
    name = new_id()
    # One more than the tenant's share.
    asks = tool_calls([("transfer", {"name": name})] * (TOOL_CALLS // 3 + 1))
    stage.llm.script([asks, text("Done.")])
    run_id = await stage.missions.start()
    await stage.missions.event(run_id, "run.waiting")
    TRANSFERS[name].set()
    await stage.missions.ended(run_id)
    return run_id


@scene(run="quick_tool_was_slow")
async def quick_tool_was_slow(stage: Stage) -> str:
    name = new_id()
    stage.llm.script([tool_calls([("dally", {"name": name})]), text("Done.")])
    run_id = await stage.missions.start()
    await stage.falls_back(run_id, "run_tool")
    TRANSFERS[name].set()
    await stage.missions.ended(run_id)
    return run_id


@scene(run="model_call_got_its_turn_late")
async def model_call_got_its_turn_late(stage: Stage) -> str:
    missions = stage.missions.within(model_patience_seconds=LATE_SECONDS // 2)
    holds, answers = asyncio.Event(), asyncio.Event()
    replies = iter([status(503, {"retry-after": "2"}), status(503), text("Done.")])

    def reply(body: Body) -> Reply:
        if "hold" not in str(body["messages"]):
            return next(replies)
        holds.set()
        return held(text("Done."), answers)

    stage.llm.reply = reply
    run_id = await missions.start()
    failed = await missions.event(run_id, "model.retrying")
    # Others have the places of the tenant until the patience would be over, if their time counted.
    holding = [await missions.start("hold") for _ in range(MODEL_CALLS // 3)]
    await holds.wait()
    while (now() - failed.at).total_seconds() < LATE_SECONDS:  # noqa: ASYNC110 - time passes by itself
        await asyncio.sleep(0.05)
    answers.set()
    for other in (*holding, run_id):
        await missions.ended(other)
    return run_id


@scene(run="cancelled_as_the_model_replied")
async def cancelled_as_the_model_replied(stage: Stage) -> str:
    missions = stage.missions
    run_id, replied = await stage.thinks(echoes("a"), text("Too late."))
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await stage.stops_an_activity(run_id)
    replied.set()
    await missions.ended(run_id)
    return run_id


@scene(run="cancelled_in_its_row_first")
async def cancelled_in_its_row_first(stage: Stage) -> str:
    missions = stage.missions
    run_id, replied = await stage.thinks(tool_calls([("echo_slowly", {"text": "a"})]), text("Too late."))
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.runs.cancel(run_id, now())
    replied.set()
    await stage.says_in_its_history(run_id, b"run_cancelled")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await missions.ended(run_id)
    return run_id


@scene(run="heard_a_message_without_a_signal")
async def heard_a_message_without_a_signal(stage: Stage) -> str:
    missions = stage.missions
    run_id, replied = await stage.thinks(text("Done."), text("Heard."))
    await missions.word(run_id, "Mind the gap.")
    replied.set()
    await missions.ended(run_id)
    return run_id


@scene(run="waited_for_the_database")
async def waited_for_the_database(stage: Stage) -> str:
    missions = stage.missions
    run_id, replied = await stage.thinks(tool_calls([("echo_slowly", {"text": "a"})]), text("Done."), text("Done."))
    await asyncio.to_thread(stage.servers.postgres.stop)
    replied.set()
    await stage.says_in_its_history(run_id, b"database_")
    await asyncio.to_thread(stage.servers.postgres.start)
    await missions.ended(run_id)
    return run_id
