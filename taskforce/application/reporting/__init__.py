"""Usage and costs for people who embed the library (guide 6.1, 6.2)."""

from taskforce.application.reporting.cost import CostCalculator
from taskforce.application.reporting.usage import UsageTracker

__all__ = ["CostCalculator", "UsageTracker"]
