"""The worker, `python -m worker`: builds the activities, polls Temporal, drains on SIGTERM. Run any number of them."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.approvals import ApprovalActivities
from activities.errors import FailureInterceptor
from activities.heartbeats import HeartbeatInterceptor
from activities.model import ModelActivities
from activities.runs import RunActivities
from activities.tenant_deletion import DeletionActivities
from activities.tools import ToolActivities
from activities.webhooks import WebhookActivities
from taskforce.application.access.policy_documents import StoredPolicies
from taskforce.application.approval_handlers.registry import all_handlers
from taskforce.application.approvals.changes import ApprovalChanges
from taskforce.application.approvals.decisions import ApprovalDecisions, found
from taskforce.application.approvals.execution import ApprovalExecution
from taskforce.application.approvals.handler import RequestHandler
from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.application.approvals.results import erase_all_old_results
from taskforce.application.approvals.update_proofs import UpdateVerification
from taskforce.application.audit.retention import drop_all_expired
from taskforce.application.audit.sealing import Sealer
from taskforce.application.runs.lifecycle import RunLifecycle, settle
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.retention import erase_all_expired
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_checks import ToolCallPolicy
from taskforce.application.runs.tool_step import ToolStep
from taskforce.application.sweeps import OrphanSweep, repeat
from taskforce.application.tenants.deletion import Erasing
from taskforce.application.tenants.deletion_requests import start_late_deletions
from taskforce.application.webhooks.delivery import DeliveryAttempts
from taskforce.application.webhooks.delivery_log import settle_deliveries
from taskforce.application.webhooks.dispatch import starting
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import DomainError, Missing
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.core.interfaces.llm import ChatModel
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.tools import ToolRunner
from taskforce.infrastructure.composition import open_database, proof_key
from taskforce.infrastructure.config.access import access_rules, deployment_profile
from taskforce.infrastructure.config.approvals import definition_rules
from taskforce.infrastructure.config.audit import audit_section
from taskforce.infrastructure.config.logging import log_as_deployed
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.model_selection import known_secrets
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.notifications import Publisher
from taskforce.infrastructure.tools.registry import ToolRegistry
from workflows.agent_run import AgentRun
from workflows.approval import ApprovalWorkflow
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect
from workflows.tenant_deletion import TenantDeletion
from workflows.webhook_delivery import WebhookDelivery

SWEEP_SECONDS = 5.0
SEAL_SECONDS = 10.0
DROP_SECONDS = 3_600.0
ERASE_SECONDS = 3_600.0
LATE = timedelta(seconds=5)
LOOK_BACK = timedelta(hours=24)
DRAIN = timedelta(seconds=20)
COLLECT_AFTER = (5_000, 20, 50)
STICKY = timedelta(seconds=3)
WORKFLOWS = (AgentRun, ApprovalWorkflow, TenantDeletion, WebhookDelivery)

Work = Callable[[], Awaitable[object]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What activities need of the world.

    Attributes:
        database: The door to the data.
        live: Who watches.
        model: The door to the models.
        tools: The tools there are.
        http: The guarded way out.
        rules: What the deployment says about rights.
        clock: The time.
        handlers: What requests for approval are about, besides those of `all_handlers`, by their type.
        definitions: What the deployment says about approvals.
        proof_key: What the gateway vouches with for what people decide.
    """

    database: Database
    live: Live
    model: ChatModel
    tools: ToolRunner
    http: GuardedHttp
    rules: AccessRules = field(default_factory=AccessRules)
    clock: Clock = utc_now
    handlers: Mapping[str, RequestHandler] = field(default_factory=dict)
    definitions: DefinitionRules = field(default_factory=DefinitionRules)
    proof_key: ProofKey = field(default_factory=ProofKey)


def handlers_of(parts: WorkerParts) -> dict[str, RequestHandler]:
    """What requests for approval are about."""
    return {**parts.handlers, **all_handlers(parts.rules, parts.tools)}


def build_activities(parts: WorkerParts, workflow_client: WorkflowClient) -> list[Callable[..., Any]]:
    """Builds every activity from its parts, and the workflows that some of them end."""
    run_cache, said = RunCache(parts.database), Conversations(parts.database)
    lifecycle = RunLifecycle(parts.database, run_cache, parts.live, parts.clock)
    tool_call_policy = ToolCallPolicy(parts.tools, parts.clock, parts.rules, StoredPolicies(parts.database))
    model_step = ModelStep(
        parts.database, run_cache, tool_call_policy, parts.model, parts.tools, parts.live, parts.clock, said
    )
    tool_step = ToolStep(
        parts.database,
        run_cache,
        tool_call_policy,
        parts.tools,
        parts.http,
        parts.live,
        parts.clock,
        conversations=said,
    )
    handlers = handlers_of(parts)
    decisions = ApprovalDecisions(
        parts.database, run_cache, parts.live, parts.clock, parts.rules, handlers, parts.definitions
    )
    execution = ApprovalExecution(parts.database, parts.clock, handlers, workflow_client, parts.live)
    runs, tools = RunActivities(lifecycle), ToolActivities(tool_step)
    updates = UpdateVerification(parts.database, parts.proof_key, parts.clock)
    approvals = ApprovalActivities(decisions, ApprovalChanges(parts.database, parts.rules), execution, updates)
    deletions = DeletionActivities(Erasing(parts.database, parts.database, workflow_client, lifecycle, parts.clock))
    webhooks = WebhookActivities(DeliveryAttempts(parts.database, parts.http, parts.clock))
    return [
        runs.begin_run,
        runs.read_plan,
        runs.note_status,
        runs.record_usage,
        runs.finish_run,
        ModelActivities(model_step).call_model,
        tools.authorize,
        tools.run_tool,
        tools.record_denial,
        approvals.open_request,
        approvals.authorize_decision,
        approvals.refuse_decision,
        approvals.record_decision,
        approvals.record_change,
        approvals.act_on_request,
        approvals.close_request,
        approvals.carry_out_request,
        deletions.begin_deletion,
        deletions.end_tenant_runs,
        deletions.erase_tenant,
        deletions.forget_tenant_histories,
        deletions.verify_deletion,
        webhooks.attempt_delivery,
        webhooks.stop_delivery,
    ]


def workflow_runner() -> SandboxedWorkflowRunner:
    """Makes the sandbox in which workflows run in tests, and when recorded histories are replayed."""
    passed_through = SandboxRestrictions.default.with_passthrough_modules(
        "pydantic", "pydantic_core", "annotated_types"
    )
    return SandboxedWorkflowRunner(restrictions=passed_through)


def build_worker(client: Any, task_queue: str, parts: WorkerParts, **options: Any) -> Worker:  # noqa: ANN401 - the SDK's own types
    """Makes a worker of the product.

    Args:
        client: A connected Temporal client.
        task_queue: The queue to poll.
        parts: What its activities need.
        **options: Further options of the SDK's `Worker`.

    Returns:
        The worker, not yet running.
    """
    chosen: dict[str, Any] = {
        "max_concurrent_activities": 200,
        "max_concurrent_local_activities": 200,
        "max_concurrent_workflow_tasks": 100,
        # A cancellation reaches an activity with its next heartbeat, which the SDK would otherwise hold back.
        "max_heartbeat_throttle_interval": timedelta(seconds=1),
        "graceful_shutdown_timeout": DRAIN,
        # What a worker that was killed has kept is taken up by another one only after this, be it a person's decision.
        # A busy worker may lose a workflow by it, whose history is then read again.
        "sticky_queue_schedule_to_start_timeout": STICKY,
        "workflow_runner": workflow_runner(),
        **options,
    }
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=build_activities(parts, WorkflowClient(client, task_queue)),
        interceptors=[FailureInterceptor(), HeartbeatInterceptor()],
        **chosen,
    )


@asynccontextmanager
async def sweeping(
    database: Database,
    workflow_client: WorkflowClient,
    live: Live,
    clock: Clock = utc_now,
    audit_days: int | None = None,
) -> AsyncIterator[None]:
    """While the block lasts: starts what a crash left unstarted, ends rows of terminated runs, seals logs, retains."""
    works: dict[Work, float] = {
        **dict.fromkeys(_starting_late(database, workflow_client, clock), SWEEP_SECONDS),
        _cancelling(database, workflow_client, clock): SWEEP_SECONDS,
        **dict.fromkeys(_settling(database, workflow_client, live, clock), SWEEP_SECONDS),
        Sealer(database, database, clock).sweep: SEAL_SECONDS,
        lambda: drop_all_expired(database, database, audit_days, clock()): DROP_SECONDS,
        lambda: erase_all_expired(database, database, clock()): ERASE_SECONDS,
        lambda: erase_all_old_results(database, database, clock()): ERASE_SECONDS,
    }
    failed = partial(_report, "sweep.failed")
    tasks = [asyncio.create_task(repeat(seconds, work, failed)) for work, seconds in works.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _starting_late(database: Database, workflow_client: WorkflowClient, clock: Clock) -> Sequence[Work]:
    """What a crash between commit and start has left behind is started."""
    run_cache = RunCache(database)

    async def start(tenant_id: str, run_id: str) -> bool:
        return await workflow_client.start_run(await run_cache.get(tenant_id, run_id))

    async def ask(tenant_id: str, request_id: str) -> bool:
        async with database.tenant(tenant_id) as records:
            request = await found(records, request_id)
        return await workflow_client.start_request(tenant_id, request)

    runs, requests = OrphanSweep(database.unstarted_runs, start), OrphanSweep(database.unstarted_requests, ask)

    async def start_runs() -> None:
        started = await runs.sweep(clock() - LATE)
        if started:
            _log.info("runs.swept", started=started)

    async def start_requests() -> None:
        started = await requests.sweep(clock() - LATE)
        if started:
            _log.info("requests.swept", started=started)

    async def start_deletions() -> None:
        await start_late_deletions(database, clock() - LATE, workflow_client.start_deletion)

    return start_runs, start_requests, start_deletions


def _cancelling(database: Database, workflow_client: WorkflowClient, clock: Clock) -> Work:
    """Runs that were to be cancelled, which whoever wanted it did not live to do, are."""
    run_cache = RunCache(database)

    async def cancel(tenant_id: str, run_id: str) -> bool:
        try:
            await workflow_client.cancel_run(tenant_id, run_id)
        except Missing:
            # Not started yet; the row of one that was ended from outside is settled elsewhere.
            await workflow_client.start_run(await run_cache.get(tenant_id, run_id))
            with suppress(Missing):
                await workflow_client.cancel_run(tenant_id, run_id)
        return True

    late = OrphanSweep(database.runs_to_cancel, cancel)

    async def cancel_runs() -> None:
        cancelled = await late.sweep(clock() - LATE)
        if cancelled:
            _log.info("runs.cancelled", asked=cancelled)

    return cancel_runs


def _settling(database: Database, workflow_client: WorkflowClient, live: Live, clock: Clock) -> Sequence[Work]:
    """Rows whose workflow an operator has terminated are ended, for nobody else is left to do it."""
    run_cache, rules = RunCache(database), AccessRules()
    lifecycle = RunLifecycle(database, run_cache, live, clock)
    decisions = ApprovalDecisions(database, run_cache, live, clock, rules, all_handlers(rules))
    settled: set[tuple[str, str]] = set()

    async def settle_runs() -> None:
        ended = set(await workflow_client.ended_from_outside(clock() - LOOK_BACK)) - settled
        await settle(lifecycle, sorted(ended))
        settled.update(ended)

    async def withdraw_requests() -> None:
        for tenant_id, request_id in (
            set(await workflow_client.requests_ended_from_outside(clock() - LOOK_BACK)) - settled
        ):
            await decisions.withdraw(tenant_id, request_id, "an operator ended the request")
            settled.add((tenant_id, request_id))

    async def stop_deliveries() -> None:
        ended = set(await workflow_client.deliveries_ended_from_outside(clock() - LOOK_BACK)) - settled
        await settle_deliveries(database, sorted(ended), clock())
        settled.update(ended)

    return settle_runs, withdraw_requests, stop_deliveries


def _report(event: str, error: Exception) -> None:
    _log.warning(event, error=type(error).__name__, detail=str(error)[:300])


async def work(settings: Settings) -> None:
    """Runs a worker until SIGTERM or SIGINT, then lets it finish what it can.

    Raises:
        DomainError: Database or Temporal cannot be used; the message says what to do.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    profile, vouched = deployment_profile(settings), proof_key(settings)
    async with AsyncExitStack() as stack:
        database = open_database(settings, profile)
        stack.push_async_callback(database.close)
        await database.check()
        live = await stack.enter_async_context(Publisher(settings.app_url))
        client = await connect(TemporalAddress(**settings.temporal_connection))
        workflow_client = WorkflowClient(client, settings.temporal_task_queue)
        await workflow_client.ensure_search_attributes()
        model = LiteLLMModel()
        stack.push_async_callback(model.aclose)
        http = GuardedHttp(allowed_hosts=frozenset(settings.http_allowed_hosts))
        stack.push_async_callback(http.aclose)
        parts = WorkerParts(
            database=database,
            live=live,
            model=model,
            tools=ToolRegistry.discover(secrets=known_secrets(os.environ)),
            http=http,
            rules=access_rules(settings, profile),
            definitions=definition_rules(profile, schema_problems),
            proof_key=vouched,
        )
        await stack.enter_async_context(
            sweeping(database, workflow_client, live, audit_days=audit_section(profile).retention_days)
        )
        await stack.enter_async_context(starting(database, database.queued, workflow_client.start_delivery, utc_now))
        # Determinism is checked where it can be mended: tests and replays run in the sandbox, see ADR 7.
        runner = UnsandboxedWorkflowRunner()
        worker = build_worker(client, settings.temporal_task_queue, parts, workflow_runner=runner)
        await stack.enter_async_context(worker)
        _log.info("worker.ready", task_queue=settings.temporal_task_queue)
        # Importing LiteLLM takes seconds; what needs no model is served meanwhile.
        async with asyncio.TaskGroup() as group:
            preparing = group.create_task(_prepare(model))
            await stop.wait()
            preparing.cancel()
        _log.info("worker.draining", seconds=DRAIN.total_seconds())


async def _prepare(model: LiteLLMModel) -> None:
    await model.prepare()
    # What is loaded by now stays for good: the collector need not walk it, which stops everything for a quarter second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def main() -> int:
    """Runs the worker; returns the exit code."""
    try:
        settings = Settings.from_env()
        log_as_deployed(settings)
        asyncio.run(work(settings))
    except DomainError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The Temporal SDK sometimes aborts the interpreter at exit, after all work is done; that is no failure.
    os._exit(code)
