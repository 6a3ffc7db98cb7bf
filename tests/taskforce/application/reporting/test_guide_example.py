"""Usage and costs in a program of one's own: the blocks of the guide's 6.1, 6.2 and 11.4, run one after the other."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

USAGE = """
from taskforce.application.reporting import UsageTracker
from taskforce.application.reporting.usage import UsageType
from datetime import datetime, timezone, timedelta

tracker = UsageTracker(max_records_in_memory=100000)

# Record token usage from LLM calls
tracker.record_tokens(
    tenant_id="acme-corp",
    input_tokens=1500,
    output_tokens=800,
    model="gpt-4o",
    user_id="alice",
    agent_id="customer-support-agent",
    session_id="session-abc123"
)

# Record another session with different model
tracker.record_tokens(
    tenant_id="acme-corp",
    input_tokens=5000,
    output_tokens=2000,
    model="gpt-4o-mini",
    user_id="bob",
    session_id="session-def456"
)

# Record agent execution
tracker.record_agent_execution(
    tenant_id="acme-corp",
    agent_id="customer-support-agent",
    user_id="alice",
    session_id="session-abc123",
    metadata={"mission": "Handle refund request"}
)

# Record tool executions
tracker.record_tool_execution(
    tenant_id="acme-corp",
    tool_name="semantic_search",
    user_id="alice",
    agent_id="customer-support-agent",
    session_id="session-abc123"
)

# Get aggregated usage for billing period
now = datetime.now(timezone.utc)
aggregation = tracker.get_aggregation(
    tenant_id="acme-corp",
    start_date=now - timedelta(days=30),
    end_date=now
)

print("Usage Aggregation:")
print(f"  Period: {aggregation.period_start.date()} to {aggregation.period_end.date()}")
print(f"  Records: {aggregation.record_count}")
print(f"  Total input tokens: {aggregation.totals.get(UsageType.INPUT_TOKENS, 0):,}")
print(f"  Total output tokens: {aggregation.totals.get(UsageType.OUTPUT_TOKENS, 0):,}")

print("\\nBy Model:")
for model, usage in aggregation.by_model.items():
    inp = usage.get(UsageType.INPUT_TOKENS, 0)
    out = usage.get(UsageType.OUTPUT_TOKENS, 0)
    print(f"  {model}: {inp:,} in / {out:,} out")

print("\\nBy Agent:")
for agent_id, usage in aggregation.by_agent.items():
    total = usage.get(UsageType.TOTAL_TOKENS, 0)
    print(f"  {agent_id}: {total:,} tokens")
"""
PRICING = """
from taskforce.application.reporting import CostCalculator
from taskforce.application.reporting.cost import ModelPricing
from decimal import Decimal

calculator = CostCalculator()

# View default pricing (included for common models)
print("Default Model Pricing (per 1K tokens):")
for model, pricing in calculator.DEFAULT_PRICING.items():
    print(f"  {model}:")
    print(f"    Input: ${pricing.input_token_price}")
    print(f"    Output: ${pricing.output_token_price}")

# Add custom pricing for your organization
calculator.set_pricing("azure-gpt-4", ModelPricing(
    model_name="azure-gpt-4",
    input_token_price=Decimal("0.025"),   # Custom enterprise pricing
    output_token_price=Decimal("0.05"),
    currency="USD",
    notes="Azure EA pricing effective 2026-01"
))
"""
REPORT = """
# Generate cost report from usage aggregation
report = calculator.generate_report(aggregation)

print(f"\\nCost Report: {report.report_id}")
print(f"Period: {report.period_start.date()} to {report.period_end.date()}")
print(f"Currency: {report.currency}")

print("\\nLine Items:")
for item in report.line_items:
    print(f"  {item.description}")
    print(f"    Quantity: {item.quantity:,} {item.unit}")
    print(f"    Unit Price: ${item.unit_price}")
    print(f"    Total: ${item.total:.4f}")

print(f"\\nSubtotal: ${report.subtotal:.4f}")
print(f"Adjustments: ${report.adjustments:.4f}")
print(f"Total: ${report.total:.4f}")

# Apply a discount
report.apply_adjustment(
    amount=Decimal("-5.00"),
    reason="Enterprise volume discount"
)
print(f"Total after discount: ${report.total:.4f}")
"""
EXPORT = """
# Export for billing integration
import json
print(json.dumps(report.to_dict(), indent=2, default=str))
"""
DEPARTMENTS = """
# Track usage with department metadata
tracker.record_tokens(
    tenant_id="acme-corp",
    input_tokens=1500,
    output_tokens=800,
    model="gpt-4o",
    user_id="alice",
    metadata={
        "department": "engineering",
        "cost_center": "CC-1001",
        "project": "code-review-automation"
    }
)

# Generate department-specific cost reports
for department in ["engineering", "marketing", "finance"]:
    dept_records = tracker.get_records(
        tenant_id="acme-corp",
        usage_type=UsageType.TOTAL_TOKENS
    )
    dept_records = [r for r in dept_records if r.metadata.get("department") == department]

    # Calculate costs
    total_tokens = sum(r.quantity for r in dept_records)
"""


def run(capsys: pytest.CaptureFixture[str], names: dict[str, object], *blocks: str) -> list[str]:
    """Runs blocks of the guide; returns what the last one prints."""
    for block in blocks:
        capsys.readouterr()
        exec(block, names)
    return capsys.readouterr().out.splitlines()


def test_usage_tracking(capsys: pytest.CaptureFixture[str]) -> None:
    today = datetime.now(UTC)
    printed = run(capsys, {}, USAGE)
    assert printed[0] == "Usage Aggregation:"
    assert re.fullmatch(rf"  Period: {(today - timedelta(days=30)).date()} to \d{{4}}-\d\d-\d\d", printed[1])
    assert printed[2:] == [
        # Input, output and total of two calls, an agent and a tool.
        "  Records: 8",
        "  Total input tokens: 6,500",
        "  Total output tokens: 2,800",
        "",
        "By Model:",
        "  gpt-4o: 1,500 in / 800 out",
        "  gpt-4o-mini: 5,000 in / 2,000 out",
        "",
        "By Agent:",
        "  customer-support-agent: 2,300 tokens",
    ]


def test_default_pricing(capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys, {}, PRICING)
    assert printed[:4] == [
        "Default Model Pricing (per 1K tokens):",
        "  gpt-4o:",
        "    Input: $0.0025",
        "    Output: $0.01",
    ]


def test_cost_management(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    printed = run(capsys, names, USAGE, PRICING, REPORT)
    assert re.fullmatch(r"Cost Report: [0-9a-f-]{36}", printed[1])
    assert printed[3:] == [
        "Currency: USD",
        "",
        "Line Items:",
        "  gpt-4o input tokens",
        "    Quantity: 1.500 1K tokens",
        "    Unit Price: $0.0025",
        "    Total: $0.0038",
        "  gpt-4o output tokens",
        "    Quantity: 0.800 1K tokens",
        "    Unit Price: $0.01",
        "    Total: $0.0080",
        "  gpt-4o-mini input tokens",
        "    Quantity: 5.000 1K tokens",
        "    Unit Price: $0.00015",
        "    Total: $0.0008",
        "  gpt-4o-mini output tokens",
        "    Quantity: 2.000 1K tokens",
        "    Unit Price: $0.0006",
        "    Total: $0.0012",
        "",
        # 0.00375 + 0.008 + 0.00075 + 0.0012
        "Subtotal: $0.0137",
        "Adjustments: $0.0000",
        "Total: $0.0137",
        "Total after discount: $-4.9863",
    ]
    exported = json.loads("\n".join(run(capsys, names, EXPORT)))
    assert (exported["subtotal"], exported["total"], exported["amount_due"]) == ("0.0137", "-4.9863", "-4.99")
    assert exported["adjustments"][0]["reason"] == "Enterprise volume discount"
    assert [item["quantity"] for item in exported["line_items"]] == ["1.5", "0.8", "5", "2"]


def test_cost_allocation_by_department(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    watching = DEPARTMENTS.replace(
        "    # Calculate costs", "    print(department, sum(r.quantity for r in dept_records))"
    )
    assert run(capsys, names, USAGE, watching) == ["engineering 2300", "marketing 0", "finance 0"]
