"""The command line: parses arguments, calls, prints.

Commands import what they need when they run, so that `--help` and completion answer quickly. Exit codes: 0 good, 1
failed or broken, 2 wrong usage or settings, 3 degraded.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from collector import __version__
from collector.cli import durations, evidence, questions, streams
from collector.cli.amending import prune, redact
from collector.cli.audit import audit
from collector.cli.database import db
from collector.cli.demo import demo
from collector.cli.doctor import doctor
from collector.cli.export import export
from collector.cli.importing import import_
from collector.cli.mcp import mcp
from collector.cli.mistakes import next_step
from collector.cli.printing import note, say
from collector.cli.simulate import simulate
from collector.cli.sql import sql
from collector.cli.timeline import timeline
from collector.cli.times import Time
from collector.cli.web import web
from collector.cli.webhooks import webhooks
from collector.cli.work import poll, run
from collector.database.url import is_nowhere
from collector.errors import CollectorError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="collector")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with settings; also COLLECTOR_CONFIG.",
)
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """Polls Gcore's AI regions and keeps a history of them that can be derived again from evidence.

    \b
    Example:
      collector poll
      collector regions --as-of 2026-05-01
    """
    context.obj = config


for command in (
    run,
    poll,
    demo,
    questions.status,
    questions.regions,
    questions.history,
    evidence.transitions,
    evidence.explain,
    evidence.evidence,
    evidence.coverage,
    questions.diff,
    durations.availability,
    durations.lead_time,
    timeline,
    sql,
    export,
    doctor,
    import_,
    web,
    mcp,
    simulate,
    webhooks,
    audit,
    db,
):
    cli.add_command(command)
db.add_command(prune)
db.add_command(redact)


def _explain_times(command: click.Command) -> None:
    """Say at the end of the help of each command that takes times how they are written."""
    if any(isinstance(each.type, Time) or "TIME" in (each.metavar or "") for each in command.params):
        command.epilog = "A TIME is a date, ISO 8601 (without a zone: UTC), or words like '2 days ago'."
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        _explain_times(each)


_explain_times(cli)


_OF_THE_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)
"""Errors of a full or broken disk, or of too many open files, which name no file."""


def main() -> NoReturn:
    """Run the command. A person's mistake ends with a message and an exit code, without a traceback."""
    streams.prepare()
    # Without a handler, the first process of a container would ignore SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Databases, backups, packs, exports and temporary files are readable by their owner only, whatever the umask is.
    # Modes of existing files are not changed.
    of_caller = os.umask(0o077)
    try:
        code = _run()
    finally:
        os.umask(of_caller)
    sys.exit(streams.finish(code))


def _of_the_machine(error: OSError) -> str:
    """What is wrong with this machine or this process, in words; empty if the error may be a bug of ours."""
    if error.errno in _OF_THE_DISK:
        return str(error.strerror)
    if error.errno == errno.ENOENT and is_nowhere(Path()):
        return "the current folder is gone: change to another one"
    return ""


def _run() -> int:
    """Run the command. Returns its exit code; errors are printed in the same way for all commands."""
    try:
        ended = cli(standalone_mode=False)
    except CollectorError as error:
        note(f"collector: {error}")
        return error.exit_code
    except click.ClickException as error:
        said = io.StringIO()
        error.show(file=said)
        if isinstance(error, click.UsageError):
            said.write(next_step(error))
        note(said.getvalue().removesuffix("\n"))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("\nAborted!", err=True)
        return 1
    except OSError as error:
        if error.filename is None and (why := _of_the_machine(error)):
            note(f"collector: {why}")
            return 1
        if error.filename is None:
            say(traceback.format_exc(), err=True, nl=False)
            return 1
        who = "this user may not use it" if isinstance(error, PermissionError) else "it can't be used"
        say(f"collector: {error.filename}: {who} ({error.strerror})", err=True)
        return 1
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0
    except Exception:  # noqa: BLE001 - a bug of ours: reported loudly, but its texts may come from the API
        say(traceback.format_exc(), err=True, nl=False)
        return 1
    return ended if isinstance(ended, int) else 0
