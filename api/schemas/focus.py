"""Cost reports in the FinOps Open Cost and Usage Specification (FOCUS) 1.2, as CSV; see https://focus.finops.org."""

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from taskforce.core.domain.csv_cells import cell
from taskforce.core.domain.metering.cost_reports import CostAdjustment, CostLine, CostReport
from taskforce.core.domain.metering.money import plain

VERSION: Final = "1.2"
ISSUER: Final = "PyTaskforce Enterprise"
"""Who makes resources available, and charges for them within an organization."""
PRICED_IN: Final = (
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
)
"""What prices are in, and what is so priced: here the currency that is billed in."""
COLUMNS: Final = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountStatus"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId"),
    *("InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", *PRICED_IN, "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName"),
    *("ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId"),
    *("SubAccountId", "SubAccountName", "SubAccountType", "Tags", "x_Unpriced"),
)
_AI: Final = "AI and Machine Learning"
_SERVICES: Final[Mapping[str, tuple[str, str, str]]] = {
    "model": ("Language models", _AI, "Generative AI"),
    "embedding": ("Embeddings", _AI, "Natural Language Processing"),
    "tool": ("Tools", _AI, f"Other ({_AI})"),
    "run": ("Agent executions", _AI, "Bots"),
    "rag_query": ("RAG queries", _AI, "Generative AI"),
    "storage": ("Storage", "Storage", "Other (Storage)"),
    "api": ("API calls", "Integration", "API Management"),
}
_OTHER: Final = ("Other usage", _AI, f"Other ({_AI})")
_UNITS: Final[Mapping[str, str]] = {
    "tokens": "Tokens",
    "executions": "Executions",
    "queries": "Queries",
    "calls": "Requests",
    "byte-hours": "Byte-Hours",
    "records": "Records",
}
_TAG: Final = "tag:"


def report_focus(report: CostReport) -> str:
    """Renders a report as FOCUS 1.2: a charge a line, all of the report's period.

    What is billed are the rounded amounts, which add up to the totals of the report; list and contracted costs are
    exact. Usage without a known price has a line of its own, of no cost, that `x_Unpriced` marks.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="raise")
    writer.writeheader()
    writer.writerows(_usage(report, line) for line in (*report.lines, *report.unpriced))
    writer.writerows(_adjustment(report, one) for one in report.adjustments)
    return text.getvalue()


def _usage(report: CostReport, line: CostLine) -> Mapping[str, str]:
    service, category, subcategory = _SERVICES.get(line.kind or "", _OTHER)
    # A currency of some kind is required; without a price there is none, and no cost either.
    currency = line.currency or (report.totals[0].currency if report.totals else "USD")
    quantity, unit = _decimal(line.quantity), _UNITS[line.unit]
    sku = _ascii(":".join((line.kind or "other", line.model or line.tool or "all", line.part or "each")))
    exact, each = _decimal(line.cost), _decimal(line.unit_price)
    billed = _decimal(line.amount)
    return {
        **_common(report, currency),
        **_group(line),
        **dict(zip(PRICED_IN, (currency, each, billed, each), strict=True)),
        "BilledCost": billed,
        "EffectiveCost": billed,
        "ListCost": exact,
        "ContractedCost": exact,
        "ListUnitPrice": each,
        "ContractedUnitPrice": each,
        "ChargeCategory": "Usage",
        "ChargeDescription": _cell(line.description + ("" if line.cost is not None else ", unpriced")),
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "PublisherName": _cell(line.provider or ISSUER),
        "ServiceCategory": category,
        "ServiceName": service,
        "ServiceSubcategory": subcategory,
        "SkuId": sku,
        "SkuMeter": f"{(line.part or line.unit).replace('_', ' ').title()}",
        "SkuPriceId": f"{sku}:{currency}",
        "x_Unpriced": "" if line.cost is not None else "true",
    }


def _adjustment(report: CostReport, adjustment: CostAdjustment) -> Mapping[str, str]:
    amount = _decimal(adjustment.amount)
    service, category, subcategory = _OTHER
    return {
        **_common(report, adjustment.currency),
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), amount),
        "PricingCurrency": adjustment.currency,
        "PricingCurrencyEffectiveCost": amount,
        "ChargeCategory": "Adjustment",
        "ChargeDescription": _cell(adjustment.reason),
        "ChargeFrequency": "One-Time",
        "PublisherName": ISSUER,
        "ServiceCategory": category,
        "ServiceName": service,
        "ServiceSubcategory": subcategory,
    }


def _common(report: CostReport, currency: str) -> Mapping[str, str]:
    start, end = _time(report.start), _time(report.end)
    return {
        "BillingAccountId": report.tenant_id,
        "BillingAccountName": report.tenant_id,
        "BillingAccountType": "Tenant",
        "BillingCurrency": currency,
        "BillingPeriodStart": start,
        "BillingPeriodEnd": end,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "InvoiceId": "" if report.issued_at is None else f"{report.report_id}-{currency}",
        "InvoiceIssuerName": ISSUER,
        "ProviderName": ISSUER,
    }


def _group(line: CostLine) -> Mapping[str, str]:
    """Returns the group as a sub account, by its first dimension, and as tags."""
    told = {name: value for name, value in line.dimensions.items() if value is not None}
    name, value = next(iter(told.items()), ("", ""))
    return {
        "SubAccountId": _cell(value),
        "SubAccountName": _cell(value),
        "SubAccountType": name.removeprefix(_TAG).replace("_", " ").title() if value else "",
        "Tags": json.dumps({name.removeprefix(_TAG): value for name, value in told.items()}),
    }


def _ascii(text: str) -> str:
    """Writes what is not ASCII as escapes, for FOCUS takes nothing else; no two texts become one."""
    return text.replace("\\", r"\x5c").encode("ascii", "backslashreplace").decode()


def _cell(text: str) -> str:
    return cell(_ascii(text))


def _decimal(number: Decimal | None) -> str:
    """Writes a number with a point: a column of nothing but whole numbers would be read as one of integers."""
    text = plain(number or Decimal())
    return text if "." in text else f"{text}.0"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
