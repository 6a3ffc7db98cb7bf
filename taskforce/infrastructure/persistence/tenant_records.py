"""Repositories of one tenant, within one transaction."""

from taskforce.core.domain.audit.content import ContentRules
from taskforce.core.domain.webhooks.endpoint import FixedWebhooks
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.connection import Connection
from taskforce.infrastructure.persistence.repositories.access_grants import AccessGrantRepository
from taskforce.infrastructure.persistence.repositories.agents import AgentRepository
from taskforce.infrastructure.persistence.repositories.api_keys import ApiKeyRepository
from taskforce.infrastructure.persistence.repositories.approval_definitions import DefinitionRepository
from taskforce.infrastructure.persistence.repositories.approval_delegations import DelegationRepository
from taskforce.infrastructure.persistence.repositories.approval_results import RequestResultRepository
from taskforce.infrastructure.persistence.repositories.approvals import RequestRepository
from taskforce.infrastructure.persistence.repositories.audit import AuditRepository
from taskforce.infrastructure.persistence.repositories.budgets import BudgetRepository
from taskforce.infrastructure.persistence.repositories.cost_reports import CostReportRepository
from taskforce.infrastructure.persistence.repositories.due_rows import DueRowRepository
from taskforce.infrastructure.persistence.repositories.idempotency import AnswerRepository
from taskforce.infrastructure.persistence.repositories.kill_switches import KillSwitchRepository
from taskforce.infrastructure.persistence.repositories.policies import PolicyRepository
from taskforce.infrastructure.persistence.repositories.prices import PriceRepository
from taskforce.infrastructure.persistence.repositories.rate_limits import RateRepository
from taskforce.infrastructure.persistence.repositories.roles import RoleRepository
from taskforce.infrastructure.persistence.repositories.run_records import (
    EffectRepository,
    EventRepository,
    FileRepository,
    MessageRepository,
    ResultRepository,
)
from taskforce.infrastructure.persistence.repositories.runs import RunRepository
from taskforce.infrastructure.persistence.repositories.service_statistics import ServiceStatisticsRepository
from taskforce.infrastructure.persistence.repositories.tenant_deletions import DeletionRepository, TenantDataRepository
from taskforce.infrastructure.persistence.repositories.tenants import TenantRepository
from taskforce.infrastructure.persistence.repositories.transcripts import TranscriptRepository
from taskforce.infrastructure.persistence.repositories.usage import UsageRepository
from taskforce.infrastructure.persistence.repositories.usage_buckets import UsageBucketRepository
from taskforce.infrastructure.persistence.repositories.users import UserRepository
from taskforce.infrastructure.persistence.repositories.webhook_deliveries import DeliveryRepository
from taskforce.infrastructure.persistence.repositories.webhooks import WebhookRepository


class TenantRecords:
    """Implements `taskforce.core.interfaces.store.Records`."""

    def __init__(
        self,
        connection: Connection,
        tenant_id: str,
        contents: ContentRules,
        sealer: ColumnSealer,
        fixed: FixedWebhooks,
    ) -> None:
        self.tenant_id = tenant_id
        self.facts = connection.facts
        self.tenant = TenantRepository(connection, tenant_id)
        self.roles = RoleRepository(connection, tenant_id)
        self.keys = ApiKeyRepository(connection, tenant_id)
        self.access_grants = AccessGrantRepository(connection, tenant_id)
        self.policies = PolicyRepository(connection, tenant_id)
        self.rates = RateRepository(connection, tenant_id)
        self.users = UserRepository(connection, tenant_id)
        self.catalog = AgentRepository(connection, tenant_id)
        self.runs = RunRepository(connection, tenant_id)
        self.kill_switches = KillSwitchRepository(connection, tenant_id)
        self.transcripts = TranscriptRepository(connection, tenant_id)
        self.messages = MessageRepository(connection, tenant_id)
        self.effects = EffectRepository(connection, tenant_id)
        self.results = ResultRepository(connection, tenant_id)
        self.files = FileRepository(connection, tenant_id)
        self.events = EventRepository(connection, tenant_id)
        self.usage = UsageRepository(connection, tenant_id)
        self.prices = PriceRepository(connection, tenant_id)
        self.budgets = BudgetRepository(connection, tenant_id)
        self.usage_buckets = UsageBucketRepository(connection, tenant_id)
        self.cost_reports = CostReportRepository(connection, tenant_id)
        self.service_statistics = ServiceStatisticsRepository(connection, tenant_id)
        self.requests = RequestRepository(connection, tenant_id)
        self.request_results = RequestResultRepository(connection, tenant_id)
        self.definitions = DefinitionRepository(connection, tenant_id)
        self.delegations = DelegationRepository(connection, tenant_id)
        self.answers = AnswerRepository(connection, tenant_id)
        self.audit = AuditRepository(connection, tenant_id, contents)
        self.deletions = DeletionRepository(connection, tenant_id)
        self.tenant_data = TenantDataRepository(connection, tenant_id)
        self.webhooks = WebhookRepository(connection, tenant_id, sealer, fixed)
        self.deliveries = DeliveryRepository(connection, tenant_id, fixed)
        self.due_rows = DueRowRepository(connection, tenant_id)
