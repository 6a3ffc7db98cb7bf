"""Worker process (`python -m worker`): builds the activities, polls Temporal, drains on SIGTERM. Any number may run."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from temporalio.worker import FixedSizeSlotSupplier, Interceptor, UnsandboxedWorkflowRunner, Worker, WorkerTuner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.activity_slots import ActivitySlots
from activities.approvals import ApprovalActivities
from activities.errors import FailureInterceptor
from activities.heartbeats import HeartbeatInterceptor
from activities.metering import MeteringActivities
from activities.metrics import MetricsInterceptor
from activities.registration import activities_of
from activities.runs.lifecycle import RunActivities
from activities.runs.model import ModelActivities
from activities.runs.tools import ToolActivities
from activities.tenant_deletion import DeletionActivities
from activities.tenant_shares import WORKFLOW_TASKS, CallLimits, TenantShares
from activities.tracing import ActivitySpans
from activities.webhooks import WebhookActivities
from activities.work import WorkInterceptor
from api.web.scrape_server import showing_metrics
from taskforce.application.approvals.handler import RequestHandler
from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.application.approvals.update_proofs import UpdateVerification
from taskforce.application.webhooks.dispatch import starting
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.approvals.excerpt import ExcerptRules
from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.core.interfaces.llm import ChatModel
from taskforce.core.interfaces.metrics import FactObserver, Observers
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.tools import ToolRunner
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.composition import (
    Foundation,
    UseCases,
    observed_database,
    proof_key,
    use_cases,
    worker_use_cases,
)
from taskforce.infrastructure.config.access import access_rules, deployment_profile
from taskforce.infrastructure.config.approvals import definition_rules, excerpt_rules
from taskforce.infrastructure.config.audit import audit_section
from taskforce.infrastructure.config.logging import log_as_deployed
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.model_selection import known_secrets
from taskforce.infrastructure.loop_watch import watched_loop
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.net.name_resolution import NameResolution, ResolvingLoop
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.notifications import Publisher
from taskforce.infrastructure.tools.registry import ToolRegistry
from taskforce.infrastructure.tools.traced import traced_tools
from taskforce.infrastructure.tracing.deployment import traced_as_deployed
from workflows.agent_run import AgentRun
from workflows.approval import ApprovalWorkflow
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect
from workflows.client.recovery import RecoveryPorts, recovery
from workflows.client.sdk_metrics import recording_sdk
from workflows.runtime.trace_headers import TraceHeaders
from workflows.tenant_deletion import TenantDeletion
from workflows.usage_rollup import UsageRollup
from workflows.webhook_delivery import WebhookDelivery

SERVICE = "taskforce-worker"
LOCAL_ACTIVITIES = 200
DRAIN = timedelta(seconds=20)
COLLECT_AFTER = (5_000, 20, 50)
STICKY = timedelta(seconds=3)
WORKFLOWS = (AgentRun, ApprovalWorkflow, TenantDeletion, UsageRollup, WebhookDelivery)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """Holds what activities depend on.

    Attributes:
        database: Access to PostgreSQL.
        live: Notifies those who watch runs.
        model: Access to the language models.
        tools: The tools.
        http: The guarded HTTP client.
        rules: The deployment's access rules.
        clock: Returns the time, UTC.
        handlers: Request handlers besides those of `all_handlers`, by request type.
        definitions: The deployment's approval definitions.
        proof_key: The key with which the gateway proves people's decisions.
        excerpts: What the Temporal UI shows of requests for approval.
        limits: The bounds of slow activities.
        observer: Learns of what happens, for the metrics.
        tracer: Traces activities and what they start; model, tools and database are given it where they are made.
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
    excerpts: ExcerptRules = field(default_factory=ExcerptRules)
    limits: CallLimits = field(default_factory=CallLimits)
    observer: FactObserver = field(default_factory=Observers)
    tracer: Tracer = NO_TRACING

    @property
    def foundation(self) -> Foundation:
        """Returns what the use cases depend on."""
        return Foundation(self.database, self.live, self.clock, self.rules, self.definitions, self.tools, self.handlers)


def build_activities(parts: WorkerParts, cases: UseCases, workflow_client: WorkflowClient) -> list[Callable[..., Any]]:
    """Builds every activity; some of them start, signal or end workflows by the client."""
    own = worker_use_cases(
        parts.foundation,
        cases,
        model=parts.model,
        tools=parts.tools,
        http=parts.http,
        runs=workflow_client.runs,
        histories=workflow_client.tenants,
    )
    return activities_of(
        RunActivities(cases.lifecycle, cases.release_look, cases.budgets),
        ModelActivities(own.model_step),
        ToolActivities(own.tool_step),
        ApprovalActivities(
            cases.decisions,
            cases.changes,
            own.execution,
            UpdateVerification(parts.database, parts.proof_key, parts.clock),
            excerpts=parts.excerpts,
        ),
        DeletionActivities(own.erasure),
        WebhookActivities(own.deliveries),
        MeteringActivities(own.usage_rollup),
    )


def workflow_runner() -> SandboxedWorkflowRunner:
    """Builds the sandbox in which workflows run in tests, and when recorded histories are replayed."""
    passed_through = SandboxRestrictions.default.with_passthrough_modules(
        "pydantic", "pydantic_core", "annotated_types"
    )
    return SandboxedWorkflowRunner(restrictions=passed_through)


def build_worker(
    client: Any,  # noqa: ANN401 - the SDK's own types
    task_queue: str,
    parts: WorkerParts,
    cases: UseCases | None = None,
    **options: Any,  # noqa: ANN401 - the SDK's own types
) -> Worker:
    """Builds a worker of the product.

    Args:
        client: A connected Temporal client.
        task_queue: The queue to poll.
        parts: What its activities depend on.
        cases: The process's use cases; None builds them of the parts.
        **options: Further options of the SDK's `Worker`.

    Returns:
        The worker, not yet running.
    """
    slots = ActivitySlots(parts.limits.slots)
    chosen: dict[str, Any] = {
        "tuner": WorkerTuner.create_composite(
            workflow_supplier=FixedSizeSlotSupplier(WORKFLOW_TASKS),
            activity_supplier=slots,
            local_activity_supplier=FixedSizeSlotSupplier(LOCAL_ACTIVITIES),
            nexus_supplier=FixedSizeSlotSupplier(1),
        ),
        # A cancellation reaches an activity with a heartbeat, and by default the SDK throttles heartbeats.
        "max_heartbeat_throttle_interval": timedelta(seconds=1),
        "graceful_shutdown_timeout": DRAIN,
        # Short: a killed worker's sticky tasks, a person's decision included, reach another worker only after this.
        # The price: a busy worker may lose a workflow from its cache, whose history is then replayed.
        "sticky_queue_schedule_to_start_timeout": STICKY,
        "workflow_runner": workflow_runner(),
        **options,
    }
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=build_activities(
            parts, cases or use_cases(parts.foundation), WorkflowClient(client, task_queue, tracer=parts.tracer)
        ),
        interceptors=[slots, *_interceptors(parts)],
        **chosen,
    )


def _interceptors(parts: WorkerParts) -> list[Interceptor]:
    traced: list[Interceptor] = [TraceHeaders(), ActivitySpans(parts.tracer)] if parts.tracer.on else []
    # In this order: failures and heartbeats tell the work, and a call that waits for its tenant's turn sends them.
    return [
        *traced,
        MetricsInterceptor(parts.observer),
        WorkInterceptor(),
        FailureInterceptor(),
        HeartbeatInterceptor(),
        TenantShares(parts.limits),
    ]


def sweeping(
    database: Database,
    workflow_client: WorkflowClient,
    cases: UseCases,
    clock: Clock = utc_now,
    *,
    audit_days: int | None = None,
    observer: FactObserver | None = None,
    statistics_days: int | None = None,
) -> AbstractAsyncContextManager[None]:
    """Runs the recovery sweeps while the block lasts; see `workflows/client/recovery.py`."""
    return recovery(
        RecoveryPorts(
            store=database,
            workflows=workflow_client,
            run_cache=cases.run_cache,
            lifecycle=cases.lifecycle,
            decisions=cases.decisions,
            clock=clock,
            audit_days=audit_days,
            observer=observer or Observers(),
            statistics_days=statistics_days,
        )
    )


async def work(settings: Settings, tracer: Tracer = NO_TRACING) -> None:
    """Runs a worker until SIGTERM or SIGINT, then drains it.

    Args:
        settings: The process's settings.
        tracer: The process's tracer.

    Raises:
        DomainError: Database or Temporal cannot be used; the message says what to do.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    profile, vouched = deployment_profile(settings), proof_key(settings)
    async with AsyncExitStack() as stack:
        model = LiteLLMModel(tracer=tracer)
        stack.push_async_callback(model.aclose)
        preparing = asyncio.create_task(model.prepare())
        stack.callback(preparing.cancel)
        observed = await stack.enter_async_context(observed_database(settings, profile, "worker", tracer))
        database, observer, counted = observed.database, observed.observer, observed.metrics
        live = await stack.enter_async_context(Publisher(settings.app_url))
        runtime = None if counted is None else await stack.enter_async_context(recording_sdk(counted.sdk.add))
        client = await connect(TemporalAddress(**settings.temporal_connection), runtime, tracer=tracer)
        workflow_client = WorkflowClient(client, settings.temporal_task_queue, tracer=tracer)
        await workflow_client.ensure_search_attributes()
        await workflow_client.schedules.ensure_usage_rollup()
        names = NameResolution()
        stack.callback(names.close)
        http = GuardedHttp(allowed_hosts=frozenset(settings.http_allowed_hosts), names=names)
        stack.push_async_callback(http.aclose)
        parts = WorkerParts(
            database=database,
            live=live,
            model=model,
            tools=traced_tools(ToolRegistry.discover(secrets=known_secrets(os.environ)), tracer),
            http=http,
            rules=access_rules(settings, profile),
            definitions=definition_rules(profile, schema_problems),
            proof_key=vouched,
            excerpts=excerpt_rules(settings, profile, known_secrets(os.environ)),
            limits=CallLimits(settings.worker_model_calls, settings.worker_tool_calls),
            observer=observer,
            tracer=tracer,
        )
        cases = use_cases(parts.foundation)
        # The import of LiteLLM, in a thread, keeps the loop waiting for tenths of a second at a time: a worker that has
        # begun to serve would hold everybody up.
        await preparing
        await parts.foundation.bundled_prices.load()
        spare_collector()
        await stack.enter_async_context(
            sweeping(
                database,
                workflow_client,
                cases,
                audit_days=audit_section(profile).retention_days,
                observer=observer,
                statistics_days=settings.statistics_days,
            )
        )
        await stack.enter_async_context(
            starting(database, database.queued, workflow_client.deliveries.start, utc_now, tracer=tracer)
        )
        # No sandbox in production: tests and replays check determinism in it, see ADR 7.
        runner = UnsandboxedWorkflowRunner()
        worker = build_worker(client, settings.temporal_task_queue, parts, cases, workflow_runner=runner)
        await stack.enter_async_context(worker)
        if counted is not None:
            await stack.enter_async_context(showing_metrics(settings, counted))
        stack.enter_context(watched_loop())
        _log.info("worker.ready", task_queue=settings.temporal_task_queue)
        await stop.wait()
        _log.info("worker.draining", seconds=DRAIN.total_seconds())


def spare_collector() -> None:
    """Keeps the garbage collector from walking what is loaded by now, which stops everything for a quarter second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def main() -> int:
    """Runs the worker; returns the exit code."""
    try:
        settings = Settings.from_env()
        with traced_as_deployed(SERVICE, os.environ) as tracer:
            log_as_deployed(settings, tracer)
            with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
                runner.run(work(settings, tracer))
    except DomainError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Skips interpreter shutdown, during which the Temporal SDK sometimes aborts after all work is done.
    os._exit(code)
