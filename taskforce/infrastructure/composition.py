"""Composition of what every process shares: connections, and the use cases over them."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from taskforce.application.access.policy_documents import StoredPolicies
from taskforce.application.approval_handlers.registry import all_handlers
from taskforce.application.approvals.changes import ApprovalChanges
from taskforce.application.approvals.decisions import ApprovalDecisions
from taskforce.application.approvals.execution import ApprovalExecution
from taskforce.application.approvals.handler import RequestHandler
from taskforce.application.metering.budget_books import BudgetBooks
from taskforce.application.metering.budget_ledgers import BudgetLedgers
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.reporting.rollup import UsageRollup
from taskforce.application.reporting.service_statistics import StatisticsLog, storing
from taskforce.application.runs.kill_switches import ReleaseLook
from taskforce.application.runs.lifecycle import RunLifecycle
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_checks import ToolCallPolicy
from taskforce.application.runs.tool_step import ToolStep
from taskforce.application.tenants.deletion import TenantErasure
from taskforce.application.webhooks.delivery import DeliveryAttempts
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.resource_roles import DeploymentNames
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.core.interfaces.llm import ChatModel
from taskforce.core.interfaces.metrics import FactObserver, Observers
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.prices import PriceCatalog
from taskforce.core.interfaces.tools import ToolRunner
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.core.interfaces.workflows import TenantHistories, WorkerRuns
from taskforce.infrastructure.config.audit import content_rules
from taskforce.infrastructure.config.metrics import Program, process_metrics
from taskforce.infrastructure.config.profiles import Profile
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.config.webhooks import fixed_webhooks
from taskforce.infrastructure.keys.derivation import derived_key
from taskforce.infrastructure.llm.price_map import BundledPrices
from taskforce.infrastructure.llm.token_estimate import prompt_bound
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.net.webhook_urls import DeploymentUrls
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database

_UPDATES = "taskforce/update-proof/1"


def proof_key(settings: Settings) -> ProofKey:
    """Returns the key with which the gateway proves decisions, and the worker verifies the proofs.

    Raises:
        Invalid: `bad_setting`: TASKFORCE_ENCRYPTION_KEY is not set; development does without until somebody decides.
    """
    if settings.master_key is not None:
        return ProofKey(derived_key(settings.master_key, _UPDATES))
    if settings.development:
        return ProofKey()
    text = "TASKFORCE_ENCRYPTION_KEY is not set; gateways vouch by it for what people decide, and workers check that."
    raise Invalid("bad_setting", text)


def webhook_urls(settings: Settings) -> DeploymentUrls:
    """Returns the check of webhook URLs for this deployment."""
    return DeploymentUrls(frozenset(settings.http_allowed_hosts), development=settings.development)


def open_database(
    settings: Settings, profile: Profile, *, observer: FactObserver | None = None, tracer: Tracer = NO_TRACING
) -> Database:
    """Opens the database with the key of encrypted columns, the profile's webhooks and the audit content rules.

    Args:
        settings: The process's settings.
        profile: The deployment's profile.
        observer: Learns of committed facts.
        tracer: Traces statements.

    Raises:
        Invalid: DATABASE_URL is not set, or `profile_invalid`.
    """
    return Database(
        settings.app_url,
        settings.db_pool_size,
        contents=content_rules(profile, os.environ),
        sealer=ColumnSealer(settings.master_key),
        fixed_webhooks=fixed_webhooks(profile, webhook_urls(settings), development=settings.development),
        observer=observer,
        tracer=tracer,
    )


@dataclass(frozen=True, slots=True)
class ObservedDatabase:
    """Holds a process's database, and who learns of what is committed in it.

    Attributes:
        database: Access to PostgreSQL, checked.
        observer: Counts what happens, for service levels and for the metrics.
        metrics: The metrics; None where they are switched off.
    """

    database: Database
    observer: FactObserver
    metrics: ProcessMetrics | None


@asynccontextmanager
async def observed_database(
    settings: Settings, profile: Profile, program: Program, tracer: Tracer = NO_TRACING
) -> AsyncIterator[ObservedDatabase]:
    """Opens and checks the database of a process that counts what it commits; at the end the counts are stored.

    Args:
        settings: The process's settings.
        profile: The deployment's profile.
        program: The program, whose processes share metrics.
        tracer: Traces statements.

    Raises:
        Unavailable: PostgreSQL does not answer, or the database's role is not safe.
        Invalid: As `open_database` and `process_metrics`.
    """
    metrics, statistics = process_metrics(settings, profile, program), StatisticsLog(utc_now)
    observer = Observers(statistics, *([metrics.product] if metrics else ()))
    database = open_database(settings, profile, observer=observer, tracer=tracer)
    try:
        await database.check()
        async with storing(statistics, database):
            yield ObservedDatabase(database, observer, metrics)
    finally:
        await database.close()


@dataclass(frozen=True, slots=True)
class Foundation:
    """Holds what every use case depends on.

    Attributes:
        database: Access to PostgreSQL.
        live: Notifies those who watch runs.
        clock: Returns the time, UTC.
        rules: The deployment's access rules.
        definitions: The deployment's approval definitions.
        tools: The tools; None where none is called, and no call edited.
        handlers: Request handlers besides those of `all_handlers`, by request type.
        named: The agents and tools that the deployment names; None where requests are not made.
        bundled_prices: The prices that come with the installation.
    """

    database: Database
    live: Live
    clock: Clock = utc_now
    rules: AccessRules = field(default_factory=AccessRules)
    definitions: DefinitionRules = field(default_factory=DefinitionRules)
    tools: ToolRunner | None = None
    handlers: Mapping[str, RequestHandler] = field(default_factory=dict)
    named: DeploymentNames | None = None
    bundled_prices: PriceCatalog = field(default_factory=BundledPrices)


@dataclass(frozen=True, slots=True)
class UseCases:
    """Holds the use cases that every process has.

    Attributes:
        handlers: Request handlers, by request type.
        run_cache: Caches the specifications of runs.
        prices: Caches the prices of the tenants.
        budget_books: Caches the budgets of the tenants.
        budgets: Reserves and settles what budgets count.
        lifecycle: Begins and ends runs.
        release_look: Looks whether runs are halted.
        decisions: Checks, records and closes requests.
        changes: Withdraws, reassigns and comments on requests.
    """

    handlers: Mapping[str, RequestHandler]
    run_cache: RunCache
    prices: PriceBooks
    budget_books: BudgetBooks
    budgets: BudgetLedgers
    lifecycle: RunLifecycle
    release_look: ReleaseLook
    decisions: ApprovalDecisions
    changes: ApprovalChanges


@dataclass(frozen=True, slots=True)
class WorkerUseCases:
    """Holds the use cases behind the activities that only a worker has.

    Attributes:
        tool_call_policy: Checks tool calls.
        model_step: Calls models.
        tool_step: Calls tools.
        execution: Executes what was approved.
        erasure: Deletes tenants.
        deliveries: Attempts deliveries to webhooks.
        usage_rollup: Rolls up usage.
    """

    tool_call_policy: ToolCallPolicy
    model_step: ModelStep
    tool_step: ToolStep
    execution: ApprovalExecution
    erasure: TenantErasure
    deliveries: DeliveryAttempts
    usage_rollup: UsageRollup


def use_cases(on: Foundation) -> UseCases:
    """Builds the use cases that gateway, worker and recovery share."""
    handlers = {**on.handlers, **all_handlers(on.rules, on.tools, on.named)}
    run_cache, prices = RunCache(on.database), PriceBooks(on.bundled_prices, on.clock)
    books = BudgetBooks()
    return UseCases(
        handlers=handlers,
        run_cache=run_cache,
        prices=prices,
        budget_books=books,
        budgets=BudgetLedgers(on.database, on.clock, books, prices=prices, prompt_bound=prompt_bound),
        lifecycle=RunLifecycle(on.database, run_cache, on.live, on.clock, prices=prices),
        release_look=ReleaseLook(on.database, run_cache),
        decisions=ApprovalDecisions(
            on.database,
            run_cache,
            on.live,
            clock=on.clock,
            rules=on.rules,
            handlers=handlers,
            definitions=on.definitions,
            tools=on.tools,
        ),
        changes=ApprovalChanges(on.database, on.rules),
    )


def worker_use_cases(
    on: Foundation,
    cases: UseCases,
    *,
    model: ChatModel,
    tools: ToolRunner,
    http: GuardedHttp,
    runs: WorkerRuns,
    histories: TenantHistories,
) -> WorkerUseCases:
    """Builds the use cases that only a worker has.

    Args:
        on: What the use cases depend on.
        cases: Those that every process has.
        model: Access to the language models.
        tools: The tools.
        http: The guarded HTTP client.
        runs: The workflows of runs.
        histories: The histories of a tenant's workflows.
    """
    database, run_cache, said = on.database, cases.run_cache, Conversations(on.database)
    policy = ToolCallPolicy(
        tools,
        on.clock,
        on.rules,
        StoredPolicies(database),
        prices=cases.prices,
        books=cases.budget_books,
        definitions=on.definitions,
    )
    return WorkerUseCases(
        tool_call_policy=policy,
        model_step=ModelStep(
            database,
            run_cache,
            policy,
            model=model,
            tools=tools,
            live=on.live,
            clock=on.clock,
            prices=cases.prices,
            budgets=cases.budgets,
            conversations=said,
        ),
        tool_step=ToolStep(
            database,
            run_cache,
            policy,
            tools=tools,
            http=http,
            live=on.live,
            clock=on.clock,
            prices=cases.prices,
            budgets=cases.budgets,
            conversations=said,
        ),
        execution=ApprovalExecution(database, on.clock, cases.handlers, runs, on.live),
        erasure=TenantErasure(
            database, database, runs=runs, histories=histories, lifecycle=cases.lifecycle, clock=on.clock
        ),
        deliveries=DeliveryAttempts(database, http, on.clock),
        usage_rollup=UsageRollup(database, on.clock, cases.prices),
    )
