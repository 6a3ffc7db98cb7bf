"""What a turn of the model is asked for, and what the loop learns of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from taskforce.application.runs.tool_checks import PermittedCall
from taskforce.core.domain.runs.run import StopReason
from taskforce.core.domain.runs.transcript import Entry
from taskforce.core.interfaces.llm import Finish

_CUT: Mapping[Finish, StopReason] = {"length": StopReason.REPLY_CUT, "content_filter": StopReason.CONTENT_FILTER}


@dataclass(frozen=True, slots=True)
class ModelStepInput:
    """One step of a run in which the model speaks.

    Attributes:
        tenant_id: The tenant.
        run_id: The run.
        step: The step, from 1.
        attempt: Temporal's attempt, from 1.
        words: Ids of a person's words to hear first.
        closing: The model must answer in words.
        stop: Why it must, where that is not the limit of steps.
        told: Words of which the run has been told; the first turn begins the run, and the last ends it unless there are
            others. None leaves both to whoever runs the loop.
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
        """Why the model must answer in words, when it must."""
        return self.stop or StopReason.MAX_STEPS

    @property
    def begins(self) -> bool:
        """Whether the run begins with this turn."""
        return self.told is not None and self.step == 1

    def ends(self, reply: Entry) -> bool:
        """Whether the reply is the run's last, as far as the model goes."""
        return self.told is not None and (self.closing or not reply.tool_calls)

    def incomplete(self, reply: Entry) -> StopReason | None:
        """Why the reply, if it is the run's last, does not complete the mission."""
        if self.closing:
            return self.closed_by
        return None if reply.tool_calls else _CUT.get(reply.finish)

    def stop_reason(self, reply: Entry) -> StopReason | None:
        """What the loop does not know: why the run ends with this reply as incomplete."""
        return self.stop if self.closing else self.incomplete(reply)


@dataclass(frozen=True, slots=True)
class ModelStepResult:
    """What the loop must know of a reply.

    Attributes:
        calls: Tool calls that it asks for.
        tokens: What it cost.
        allowed: Those that may go on; None when that could not be found out, and is to be asked for.
        ended: The run has ended with it.
        stop_reason: Why the run, if it ends with it, is incomplete.
    """

    calls: int
    tokens: int
    allowed: tuple[PermittedCall, ...] | None = ()
    ended: bool = False
    stop_reason: StopReason | None = None
