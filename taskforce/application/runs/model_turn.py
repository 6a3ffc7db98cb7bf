"""Input and result of a model step, as the run workflow passes and receives them."""

from collections.abc import Mapping
from dataclasses import dataclass

from taskforce.application.runs.tool_checks import PermittedCall
from taskforce.core.domain.runs.run import StopReason
from taskforce.core.domain.runs.transcript import Entry
from taskforce.core.interfaces.llm import Finish

_CUT: Mapping[Finish, StopReason] = {"length": StopReason.REPLY_CUT, "content_filter": StopReason.CONTENT_FILTER}


@dataclass(frozen=True, slots=True)
class ModelStepInput:
    """The model step to take.

    Attributes:
        tenant_id: The tenant.
        run_id: The run.
        step: The step, from 1.
        attempt: Temporal's attempt of the activity, from 1.
        words: Ids of the messages that the model receives first.
        closing: Whether it is the closing turn, which offers no tools.
        stop: The reason for the closing turn, where that is not the limit of steps.
        told: Messages that the workflow has received so far; then the first step also begins the run, and the last one
            ends it unless more messages are stored. None leaves both to the workflow.
    """

    tenant_id: str
    run_id: str
    step: int
    attempt: int
    words: tuple[str, ...] = ()
    closing: bool = False
    told: int | None = None
    stop: StopReason | None = None

    @property
    def closed_by(self) -> StopReason:
        """Returns the reason for the closing turn, if it is one."""
        return self.stop or StopReason.MAX_STEPS

    @property
    def begins(self) -> bool:
        """Returns whether this step also begins the run."""
        return self.told is not None and self.step == 1

    def ends(self, reply: Entry) -> bool:
        """Tells whether the reply ends the run, unless a message comes."""
        return self.told is not None and (self.closing or not reply.tool_calls)

    def incomplete(self, reply: Entry) -> StopReason | None:
        """Returns why the reply, as the run's last, does not complete the mission; None where it does."""
        if self.closing:
            return self.closed_by
        return None if reply.tool_calls else _CUT.get(reply.finish)

    def stop_reason(self, reply: Entry) -> StopReason | None:
        """Returns why the run ends as incomplete, as far as the workflow cannot know it by itself."""
        # The limit of steps is the workflow's own reason, and recorded results have none for it.
        return self.stop if self.closing else self.incomplete(reply)


@dataclass(frozen=True, slots=True)
class ModelStepResult:
    """The part of a reply that the workflow needs.

    Attributes:
        calls: The number of tool calls in it.
        tokens: Input and output tokens of the step, all attempts together.
        allowed: The permitted calls; None where they could not be checked, and `authorize` is to be called.
        ended: Whether the run has ended with it.
        stop_reason: Why the run, if it ends with it, is incomplete.
        unknown: How many of the turn's messages are not stored, so that nobody has sent them.
    """

    calls: int
    tokens: int
    allowed: tuple[PermittedCall, ...] | None = ()
    ended: bool = False
    stop_reason: StopReason | None = None
    unknown: int = 0
