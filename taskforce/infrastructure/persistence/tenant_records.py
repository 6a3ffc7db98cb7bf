"""Repositories of one tenant, within one transaction."""

from taskforce.core.domain.audit.content import ContentRules
from taskforce.core.domain.webhooks.endpoint import FixedWebhooks
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.connection import Connection
from taskforce.infrastructure.persistence.repositories.access_grants import AccessGrantRows
from taskforce.infrastructure.persistence.repositories.agents import AgentRows
from taskforce.infrastructure.persistence.repositories.api_keys import ApiKeyRows
from taskforce.infrastructure.persistence.repositories.approval_definitions import DefinitionRows
from taskforce.infrastructure.persistence.repositories.approval_delegations import DelegationRows
from taskforce.infrastructure.persistence.repositories.approval_results import RequestResultRows
from taskforce.infrastructure.persistence.repositories.approvals import RequestRows
from taskforce.infrastructure.persistence.repositories.audit import AuditRows
from taskforce.infrastructure.persistence.repositories.idempotency import AnswerRows
from taskforce.infrastructure.persistence.repositories.policies import PolicyRows
from taskforce.infrastructure.persistence.repositories.rate_limits import RateRows
from taskforce.infrastructure.persistence.repositories.roles import RoleRows
from taskforce.infrastructure.persistence.repositories.run_records import (
    EffectRows,
    EventRows,
    FileRows,
    ResultRows,
    WordRows,
)
from taskforce.infrastructure.persistence.repositories.runs import RunRows
from taskforce.infrastructure.persistence.repositories.tenant_deletions import DeletionRows, EstateRows
from taskforce.infrastructure.persistence.repositories.tenants import TenantRows
from taskforce.infrastructure.persistence.repositories.transcripts import TranscriptRows
from taskforce.infrastructure.persistence.repositories.usage import UsageRows
from taskforce.infrastructure.persistence.repositories.users import UserRows
from taskforce.infrastructure.persistence.repositories.webhook_deliveries import DeliveryRows
from taskforce.infrastructure.persistence.repositories.webhooks import WebhookRows


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
        self.tenant = TenantRows(connection, tenant_id)
        self.roles = RoleRows(connection, tenant_id)
        self.keys = ApiKeyRows(connection, tenant_id)
        self.access_grants = AccessGrantRows(connection, tenant_id)
        self.policies = PolicyRows(connection, tenant_id)
        self.rates = RateRows(connection, tenant_id)
        self.users = UserRows(connection, tenant_id)
        self.catalog = AgentRows(connection, tenant_id)
        self.runs = RunRows(connection, tenant_id)
        self.transcripts = TranscriptRows(connection, tenant_id)
        self.words = WordRows(connection, tenant_id)
        self.effects = EffectRows(connection, tenant_id)
        self.results = ResultRows(connection, tenant_id)
        self.files = FileRows(connection, tenant_id)
        self.events = EventRows(connection, tenant_id)
        self.usage = UsageRows(connection, tenant_id)
        self.requests = RequestRows(connection, tenant_id)
        self.request_results = RequestResultRows(connection, tenant_id)
        self.definitions = DefinitionRows(connection, tenant_id)
        self.delegations = DelegationRows(connection, tenant_id)
        self.answers = AnswerRows(connection, tenant_id)
        self.audit = AuditRows(connection, tenant_id, contents)
        self.deletions = DeletionRows(connection, tenant_id)
        self.estate = EstateRows(connection, tenant_id)
        self.webhooks = WebhookRows(connection, tenant_id, sealer, fixed)
        self.deliveries = DeliveryRows(connection, tenant_id, fixed)
