"""The command line: parse arguments, call, print.

Commands import what they need when they run, so that `--help` and completion answer at once.
Exit codes: 0 good, 1 failed or broken, 2 wrong usage or settings, 3 degraded.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from collector import __version__
from collector.cli import durations, evidence, questions, streams
from collector.cli.audit import audit
from collector.cli.database import db
from collector.cli.demo import demo
from collector.cli.doctor import doctor
from collector.cli.export import export
from collector.cli.importing import import_
from collector.cli.simulate import simulate
from collector.cli.timeline import timeline
from collector.cli.work import poll, run
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
    export,
    doctor,
    import_,
    simulate,
    audit,
    db,
):
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command; what a person can mend ends with a message and an exit code, without a traceback."""
    streams.prepare()
    # The first process of a container would not heed SIGTERM by itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        cli(standalone_mode=True)
        code = 0
    except CollectorError as error:
        click.echo(f"collector: {error}", err=True)
        code = error.exit_code
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    sys.exit(streams.finish(code))
