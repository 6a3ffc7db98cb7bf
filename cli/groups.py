"""Groups of commands, such as `taskforce tenants ...`."""

import typer


def command_group(name: str, about: str) -> typer.Typer:
    """Makes a group of commands; without one of them it shows its help.

    Args:
        name: The name of the group.
        about: What its commands do, a sentence.
    """
    group = typer.Typer(
        name=name,
        help=about,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # With one, also a group that has a single command is a group.
    group.callback()(_only_a_group)
    return group


def _only_a_group() -> None: ...
