"""What to do about arguments that a command does not take."""

from __future__ import annotations

import re

import click

_OTHER_WORDS = {"--since": "--from", "--after": "--from", "--until": "--to", "--before": "--to"}
"""Options of other programs, and what they are called here."""


def next_step(error: click.UsageError) -> str:
    """A line that follows the message about a wrong argument; empty if there is nothing to add."""
    if isinstance(error, click.NoSuchOption) and error.option_name == "--config":
        return "Write it before the command: collector --config FILE COMMAND\n"
    if isinstance(error, click.NoSuchOption) and error.ctx:
        meant = _OTHER_WORDS.get(error.option_name)
        return f"Write {meant}.\n" if any(meant in each.opts for each in error.ctx.command.params) else ""
    extra = re.match(r"Got unexpected extra arguments? \((.*)\)$", error.message, re.DOTALL)
    command = error.ctx.command if error.ctx else None
    if extra is None or command is None:
        return ""
    options = {name for each in command.params for name in each.opts}
    if "--region" in options and " " not in extra[1]:
        return f"To ask about one region, write --region {extra[1]}\n"
    return 'A name or a time of several words is written in quotes, like "2 days ago".\n'
