"""Export of spans by whole trees: what a process does within one request or activity is sent together."""

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

MOST = 1_000
"""Spans of a tree that are held at most; what comes before is then sent without waiting."""


class SpanTrees(SpanProcessor):
    """Holds ended spans until the first one of their process has ended, too.

    A process that is killed leaves no spans behind whose parent never arrives: another one does the work again, and
    sends a whole tree.

    Args:
        inner: Receives the spans.
    """

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner = inner
        self._trees: dict[int, _Tree] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Adds a span to the tree of its parent, or begins a tree."""
        self._inner.on_start(span, parent_context)
        parent = trace.get_current_span(parent_context).get_span_context()
        tree = None if parent.is_remote else self._trees.get(parent.span_id)
        self._trees[_id_of(span)] = tree or _Tree(_id_of(span))

    def on_end(self, span: ReadableSpan) -> None:
        """Holds an ended span, or sends its tree."""
        tree = self._trees.pop(_id_of(span), None)
        if tree is None:
            self._inner.on_end(span)
            return
        tree.ended.append(span)
        tree.is_over = tree.is_over or tree.root == _id_of(span)
        if tree.is_over or len(tree.ended) >= MOST:
            held, tree.ended = tree.ended, []
            for one in held:
                self._inner.on_end(one)

    def shutdown(self) -> None:
        """Sends what is left."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends what waits."""
        return self._inner.force_flush(timeout_millis)


class _Tree:
    __slots__ = ("ended", "is_over", "root")

    def __init__(self, root: int) -> None:
        self.root = root
        self.ended: list[ReadableSpan] = []
        self.is_over = False


def _id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    return 0 if context is None else context.span_id
