"""Reports errors of a command in one line, with an exit code."""

import functools
from collections.abc import Callable
from typing import Final, ParamSpec

import typer

from cli.exits import Exit, Trouble, exit_of_kind
from cli.terminal import write_json
from taskforce.core.domain.errors import DomainError

P = ParamSpec("P")


_NOT_TEXT: Final = "Something that was given holds bytes or characters that are not text in UTF-8."


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Turns what goes wrong in a command into words on stderr, a document with --json, and an exit code.

    Args:
        command: A command's function.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Trouble as trouble:
            _tell(trouble, as_json=bool(kwargs.get("as_json")))
        except DomainError as error:
            _tell(Trouble(exit_of_kind(error.kind), error.code, error.message), as_json=bool(kwargs.get("as_json")))
        except UnicodeError:
            # From a file, a variable or a prompt; arguments and standard input were looked at before.
            _tell(Trouble(Exit.USAGE, "not_text", _NOT_TEXT), as_json=bool(kwargs.get("as_json")))
        except KeyboardInterrupt:
            raise typer.Exit(int(Exit.INTERRUPTED)) from None

    return wrapped


def _tell(trouble: Trouble, *, as_json: bool) -> None:
    from cli.render import complain_of

    if as_json:
        write_json(trouble.document())
    complain_of(trouble)
    raise typer.Exit(int(trouble.exit_code)) from None
