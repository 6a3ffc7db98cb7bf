"""Messages of budgets: a call that one does not cover."""

from models.messages.frame import Message, RunRef


class ExceededBudget(Message):
    """A ledger that has no room for a model call. Amounts are exact decimals as texts, without a currency.

    Attributes:
        budget_id: The budget.
        subject: Whose ledger it is.
        period_start: The beginning of its period, as ISO 8601.
        needed: What the call may need.
        left: What is left.
        on_exceed: `ask` or `stop`.
        held: Whether it has room once other calls have given back what they can.
    """

    budget_id: str
    subject: str
    period_start: str
    needed: str
    left: str
    on_exceed: str = "ask"
    held: bool = False


class BudgetWait(RunRef):
    """The input of `await_budget`: the run that waits, and for what."""

    exceeded: ExceededBudget
