"""`completion`: the script that a shell needs to complete commands, options and the names of agents."""

from __future__ import annotations

import click

from manager.cli import exit_codes
from manager.cli.session import shared_options, write

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
@shared_options
def completion_command(*, shell: str) -> int:
    r"""Print the completion script for SHELL.

    \b
    bash: put  eval "$(outlive completion bash)"  into ~/.bashrc
    zsh:  put  eval "$(outlive completion zsh)"   into ~/.zshrc
    fish: outlive completion fish > ~/.config/fish/completions/outlive.fish
    """
    from click.shell_completion import get_completion_class

    from manager.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # click has the three of them
    # Not source(): for bash that starts a bash only to ask for its version.
    completer = found(cli, {}, "outlive", "_OUTLIVE_COMPLETE")
    write(completer.source_template % completer.source_vars())
    return exit_codes.DONE
