"""Approvals for programs that embed the library (guide 4.2): requests in memory, under the service's rules."""

from taskforce.application.workflows.in_memory import WorkflowManager
from taskforce.core.domain.approvals.approval import ApprovalStatus

__all__ = ["ApprovalStatus", "WorkflowManager"]
