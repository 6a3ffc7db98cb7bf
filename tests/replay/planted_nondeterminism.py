"""Workflows changed as nobody should change them: under their names, a timer that no history has."""

from temporalio import workflow

from workflows.agent_run import AgentRun
from workflows.approval import ApprovalWorkflow
from workflows.tenant_deletion import TenantDeletion
from workflows.usage_rollup import UsageRollup
from workflows.webhook_delivery import WebhookDelivery

with workflow.unsafe.imports_passed_through():
    from models.messages.approvals import ApprovalInput, ApprovalOutcome
    from models.messages.deletions import DeletionRef
    from models.messages.metering import RollupOrder, RollupResult
    from models.messages.runs import RunInput
    from models.messages.webhooks import DeliveryInput

WAIT_FIRST = "wait-first"


@workflow.defn(name="AgentRun")
class ChangedRun(AgentRun):
    """A run that begins otherwise."""

    @workflow.init
    def __init__(self, start: RunInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: RunInput) -> str:
        await workflow.sleep(1)
        return await super().run(start)


@workflow.defn(name="Approval")
class ChangedApproval(ApprovalWorkflow):
    """An approval that begins otherwise."""

    @workflow.init
    def __init__(self, asked: ApprovalInput) -> None:
        super().__init__(asked)

    @workflow.run
    async def run(self, asked: ApprovalInput) -> ApprovalOutcome:
        await workflow.sleep(1)
        return await super().run(asked)


@workflow.defn(name="TenantDeletion")
class ChangedDeletion(TenantDeletion):
    """A deletion that begins otherwise."""

    @workflow.init
    def __init__(self, ref: DeletionRef) -> None:
        super().__init__(ref)

    @workflow.run
    async def run(self, ref: DeletionRef) -> str:
        await workflow.sleep(1)
        return await super().run(ref)


@workflow.defn(name="AgentRun")
class PatchedRun(AgentRun):
    """The same change made as it should be: executions that began before it go on as they began."""

    @workflow.init
    def __init__(self, start: RunInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: RunInput) -> str:
        if workflow.patched(WAIT_FIRST):
            await workflow.sleep(1)
        return await super().run(start)


@workflow.defn(name="Approval")
class PatchedApproval(ApprovalWorkflow):
    """The same change made as it should be."""

    @workflow.init
    def __init__(self, asked: ApprovalInput) -> None:
        super().__init__(asked)

    @workflow.run
    async def run(self, asked: ApprovalInput) -> ApprovalOutcome:
        if workflow.patched(WAIT_FIRST):
            await workflow.sleep(1)
        return await super().run(asked)


@workflow.defn(name="TenantDeletion")
class PatchedDeletion(TenantDeletion):
    """The same change made as it should be."""

    @workflow.init
    def __init__(self, ref: DeletionRef) -> None:
        super().__init__(ref)

    @workflow.run
    async def run(self, ref: DeletionRef) -> str:
        if workflow.patched(WAIT_FIRST):
            await workflow.sleep(1)
        return await super().run(ref)


@workflow.defn(name="WebhookDelivery")
class ChangedDelivery(WebhookDelivery):
    """A delivery that begins otherwise."""

    @workflow.init
    def __init__(self, start: DeliveryInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: DeliveryInput) -> str:
        await workflow.sleep(1)
        return await super().run(start)


@workflow.defn(name="WebhookDelivery")
class PatchedDelivery(WebhookDelivery):
    """The same change made as it should be."""

    @workflow.init
    def __init__(self, start: DeliveryInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: DeliveryInput) -> str:
        if workflow.patched(WAIT_FIRST):
            await workflow.sleep(1)
        return await super().run(start)


@workflow.defn(name="UsageRollup")
class ChangedRollup(UsageRollup):
    """A rollup that begins otherwise."""

    @workflow.run
    async def run(self, order: RollupOrder) -> RollupResult:
        await workflow.sleep(1)
        return await super().run(order)


@workflow.defn(name="UsageRollup")
class PatchedRollup(UsageRollup):
    """The same change made as it should be."""

    @workflow.run
    async def run(self, order: RollupOrder) -> RollupResult:
        if workflow.patched(WAIT_FIRST):
            await workflow.sleep(1)
        return await super().run(order)


CHANGED = (ChangedRun, ChangedApproval, ChangedDeletion, ChangedDelivery, ChangedRollup)
PATCHED = (PatchedRun, PatchedApproval, PatchedDeletion, PatchedDelivery, PatchedRollup)
