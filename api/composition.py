"""Composition root of the gateway: builds its context from the process's settings."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from api.health_check import HealthCheck
from api.in_flight import InFlight, OpenLimits
from taskforce.application.access.failed_sign_ins import FailedSignInLog
from taskforce.application.access.policy_documents import StoredPolicies
from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.access.rate_limits import RateRules
from taskforce.application.access.sign_in_limits import SignInLimit
from taskforce.application.approvals.definition_facts import Selectable
from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.application.approvals.submissions import DecisionPorts
from taskforce.application.catalog.agents import CatalogTags
from taskforce.application.runs.control import ControlPorts
from taskforce.application.runs.start import RunPorts
from taskforce.application.webhooks.dispatch import starting
from taskforce.core.domain.access.rate_limits import Rate
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.catalog.definition import Offered
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.metering.service_levels import Objective
from taskforce.core.interfaces.clock import Clock, utc_now
from taskforce.core.interfaces.identity import ResourceType
from taskforce.core.interfaces.metrics import FactObserver, Observers
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.prices import PriceCatalog
from taskforce.core.interfaces.repositories.webhooks import WebhookUrls
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwt_provider import JWTConfig
from taskforce.infrastructure.composition import (
    Foundation,
    UseCases,
    observed_database,
    proof_key,
    use_cases,
    webhook_urls,
)
from taskforce.infrastructure.config.access import access_rules, default_rate, deployment_profile
from taskforce.infrastructure.config.approvals import definition_rules
from taskforce.infrastructure.config.auth import authentication_in, issuers_of
from taskforce.infrastructure.config.metrics import objectives
from taskforce.infrastructure.config.profiles import Profile
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.llm.price_map import BundledPrices
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics
from taskforce.infrastructure.net.webhook_urls import DeploymentUrls
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.notifications import Listener, Publisher, check_delivery
from taskforce.infrastructure.profile_agents import ProfileAgents
from taskforce.infrastructure.tools.registry import ToolRegistry
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect
from workflows.client.sdk_metrics import recording_sdk

FAILED_SIGN_INS = 300


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """Sets the intervals of event streams, in seconds.

    Attributes:
        poll: The longest time between two reads of the table, so that a lost notification loses no event.
        keep_alive: The time after which a silent stream sends a comment.
        recheck: The time after which the reader's permissions are evaluated anew.
    """

    poll: float = 2.0
    keep_alive: float = 15.0
    recheck: float = 60.0


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """Holds what the routes depend on.

    Attributes:
        database: Access to PostgreSQL.
        listener: Receives notifications of run events.
        live: Notifies the other gateways of run events.
        workflow_client: Access to Temporal.
        identities: Authenticates tokens.
        agents: The agents of the profiles.
        rules: The deployment's access rules.
        rates: The deployment's rate limits.
        definitions: The deployment's approval definitions.
        trusted_proxies: Networks of the proxies whose `X-Forwarded-For` is believed.
        webhook_urls: Which URLs webhooks may have.
        policies: Evaluates the tenants' policy documents.
        use_cases: The use cases that the worker has too.
        health: Checks the parts that the gateway depends on.
        temporal_ui: Base URL of the namespace's workflows in the Temporal UI, if there is one.
        rhythm: The intervals of event streams.
        clock: Returns the time, UTC.
        tools: Names of the installed tools.
        authentication_seconds: How long checking one credential may take.
        sign_in_limit: Bounds failed sign-ins by address.
        failed_sign_ins: Writes failed sign-ins to the audit log, in batches.
        in_flight: Bounds the streams, waits and exports that are open.
        bundled_prices: The prices that come with the installation.
        observer: Learns of what happens, for the metrics.
        metrics: The metrics; None where they are switched off.
        metrics_networks: Networks from where metrics may be read without a credential.
        objectives: The deployment's objectives of service.
        tracer: Traces requests and what follows from them.
        closing: Set when the process is about to end: waiting requests and streams then return.
    """

    database: Database
    listener: Listener
    live: Live
    workflow_client: WorkflowClient
    identities: Issuers
    agents: ProfileAgents
    rules: AccessRules = field(default_factory=AccessRules)
    rates: RateRules = field(default_factory=RateRules)
    definitions: DefinitionRules = field(default_factory=DefinitionRules)
    trusted_proxies: tuple[str, ...] = ()
    webhook_urls: WebhookUrls = field(default_factory=DeploymentUrls)
    policies: PolicyEngine = field(init=False)
    use_cases: UseCases = field(init=False)
    health: HealthCheck = field(init=False)
    temporal_ui: str | None = None
    rhythm: StreamTimings = StreamTimings()
    clock: Clock = utc_now
    tools: Mapping[str, ToolSpec] = field(default_factory=lambda: ToolRegistry.discover().specs())
    authentication_seconds: float = 15
    sign_in_limit: SignInLimit = field(default_factory=lambda: SignInLimit(Rate.per_minute(FAILED_SIGN_INS)))
    in_flight: InFlight = field(default_factory=InFlight)
    failed_sign_ins: FailedSignInLog = field(init=False)
    bundled_prices: PriceCatalog = field(default_factory=BundledPrices)
    observer: FactObserver = field(default_factory=Observers)
    metrics: ProcessMetrics | None = None
    metrics_networks: tuple[str, ...] = ()
    objectives: Sequence[Objective] = ()
    tracer: Tracer = NO_TRACING
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        engine = PolicyEngine(StoredPolicies(self.database), CatalogTags(self.database), self.clock)
        # Frozen for everybody else: both follow from the fields that were given.
        object.__setattr__(self, "policies", engine)
        object.__setattr__(
            self,
            "failed_sign_ins",
            FailedSignInLog(self.database, self.database, self.rules.platform_tenant, clock=self.clock),
        )
        foundation = Foundation(
            self.database, self.live, self.clock, self.rules, self.definitions, named=self.deployment_names
        )
        object.__setattr__(self, "use_cases", use_cases(foundation))
        object.__setattr__(self, "health", HealthCheck(self.database.ping, self.workflow_client.pollers))

    def offered(self) -> Offered:
        """Returns the tools, models and handlers that a catalog definition may name."""
        return self.agents.offered(self.tools)

    def deployment_names(self, resource_type: ResourceType) -> Collection[str]:
        """Returns the ids of the deployment's own agents or tools; of other kinds it names none."""
        if resource_type is ResourceType.AGENT:
            return self.agents.ids()
        return self.tools if resource_type is ResourceType.TOOL else ()

    @property
    def selectable(self) -> Selectable:
        """Returns what approval definitions may select."""
        return Selectable([one.facts for one in self.tools.values()], self.agents.knows)

    @property
    def run_ports(self) -> RunPorts:
        """Returns the ports of starting a run."""
        return RunPorts(self.database, self.workflow_client.runs, self.agents, self.policies)

    @property
    def control_ports(self) -> ControlPorts:
        """Returns the ports of steering a run in progress."""
        return ControlPorts(self.database, self.workflow_client.runs, self.use_cases.lifecycle)

    @property
    def decision_ports(self) -> DecisionPorts:
        """Returns the ports of deciding an approval request."""
        cases = self.use_cases
        return DecisionPorts(self.database, self.workflow_client.approvals, cases.decisions, cases.changes)


@asynccontextmanager
async def compose(settings: Settings, tracer: Tracer = NO_TRACING) -> AsyncIterator[GatewayContext]:
    """Opens every connection, yields the context, and closes them when the block ends.

    Args:
        settings: The process's settings.
        tracer: The process's tracer.

    Raises:
        Unavailable: PostgreSQL or Temporal does not answer, or the database's role is not safe.
        Invalid: A setting is missing, or the profile makes no sense.
    """
    profile = deployment_profile(settings)
    issuers = _issuers(settings, profile)
    vouching = proof_key(settings)
    rules, definitions = access_rules(settings, profile), definition_rules(profile, schema_problems)
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(observed_database(settings, profile, "gateway", tracer))
        database, observer, counted = observed.database, observed.observer, observed.metrics
        await check_delivery(settings.listen_url, settings.app_url)
        where = TemporalAddress(**settings.temporal_connection)
        runtime = None if counted is None else await stack.enter_async_context(recording_sdk(counted.sdk.add))
        client = await connect(where, runtime, tracer=tracer)
        workflow_client = WorkflowClient(client, where.task_queue, vouching, tracer=tracer)
        await stack.enter_async_context(
            starting(database, database.queued, workflow_client.deliveries.start, utc_now, tracer=tracer)
        )
        context = GatewayContext(
            database=database,
            listener=await stack.enter_async_context(Listener(settings.listen_url)),
            live=await stack.enter_async_context(Publisher(settings.app_url)),
            workflow_client=workflow_client,
            identities=issuers,
            agents=_agents(settings),
            rules=rules,
            rates=RateRules(default_rate(profile), profile.rate_limiting.by_tenant),
            definitions=definitions,
            trusted_proxies=settings.trusted_proxies,
            webhook_urls=webhook_urls(settings),
            temporal_ui=temporal_ui(settings),
            tracer=tracer,
            sign_in_limit=SignInLimit(Rate.per_minute(settings.failed_sign_ins)),
            in_flight=InFlight(
                streams=OpenLimits(settings.streams, settings.streams_per_caller),
                waits=OpenLimits(settings.waits, settings.waits_per_caller),
                exports=OpenLimits(settings.exports, settings.exports_per_caller),
            ),
            observer=observer,
            metrics=counted,
            metrics_networks=settings.metrics_networks,
            objectives=objectives(profile),
        )
        stack.push_async_callback(context.failed_sign_ins.aclose)
        yield context


def temporal_ui(settings: Settings) -> str | None:
    """Returns the base URL of the namespace's workflows in the Temporal UI, or None without a UI."""
    if settings.temporal_ui_url is None:
        return None
    return f"{settings.temporal_ui_url.rstrip('/')}/namespaces/{settings.temporal_namespace}/workflows"


def _agents(settings: Settings) -> ProfileAgents:
    return ProfileAgents(
        settings.config_dir,
        settings.profile,
        os.environ,
        offered=settings.offered_profiles,
        development=settings.development,
    )


def _issuers(settings: Settings, profile: Profile) -> Issuers:
    """Returns the accepted token issuers: those of the profile, and the one of the environment's key."""
    said = authentication_in(profile.enterprise, (profile.model_extra or {}).get("authentication"), file=profile.file)
    secret, public = settings.jwt_secret, settings.jwt_public_key
    own = None
    if said is None or secret or public:
        own = JWTConfig(
            secret_key=secret.get_secret_value() if secret else None,
            public_key=public.get_secret_value() if public else None,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            platform=settings.jwt_platform,
        )
    return issuers_of(said, development=settings.development, environment=own, platform_tenant=settings.platform_tenant)
