"""`collector simulate`: a simulated Gcore API on loopback, to try things with."""

from __future__ import annotations

import signal
from datetime import timedelta

import click

from collector.cli.common import Number
from collector.cli.printing import say


@click.command()
@click.option(
    "--port",
    default=8090,
    show_default=True,
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--regions",
    default=14,
    show_default=True,
    type=click.IntRange(1, 10_000),
    metavar="NUMBER",
    help="Number of regions.",
)
@click.option(
    "--hold",
    default=60.0,
    show_default=True,
    type=Number(0.01, 1e9),
    metavar="SECONDS",
    help="How long a state lasts on average.",
)
@click.option(
    "--hours",
    default=24.0,
    show_default=True,
    type=Number(0, 1e5),
    metavar="HOURS",
    help="After this many hours, states stop changing.",
)
@click.option(
    "--seed",
    default=1,
    show_default=True,
    metavar="NUMBER",
    help="The same seed makes the same regions and changes.",
)
@click.option(
    "--fault", metavar="KIND", help="Misbehave: status, delay, truncated, html, wrong_count, empty, reset."
)
@click.option(
    "--status", default=503, show_default=True, metavar="NUMBER", help="With --fault status: the HTTP status."
)
@click.option(
    "--retry-after", type=int, metavar="SECONDS", help="With --fault status: the Retry-After header."
)
@click.option(
    "--seconds", default=1.0, show_default=True, metavar="SECONDS", help="With --fault delay: how long."
)
@click.option("--times", type=int, metavar="NUMBER", help="Stop misbehaving after this many requests.")
def simulate(
    port: int,
    regions: int,
    hold: float,
    hours: float,
    seed: int,
    fault: str | None,
    status: int,
    retry_after: int | None,
    seconds: float,
    times: int | None,
) -> None:
    """Run a simulated Gcore API whose regions change, on loopback. Other hosts can't reach it.

    Each path before /cloud/v1/ai/regions is a source with its own regions. PUT /control/fault makes it misbehave,
    DELETE /control/fault ends that, and GET …/control/truth returns what truly happened and when.

    \b
    Example:
      collector simulate --hold 10 &
      export COLLECTOR_BASE_URL=http://127.0.0.1:8090
      export COLLECTOR_API_KEY='1234$r7e5e1le7k3y'
      collector poll
    """
    from collector.clock import utc_now
    from collector.errors import UsageError
    from collector.simulator.scenario import KEY, random_worlds
    from collector.simulator.server import Fault, Simulator

    start = utc_now()
    world_of = random_worlds(
        seed, start, regions=regions, mean_hold=timedelta(seconds=hold), until=start + timedelta(hours=hours)
    )

    try:
        simulator = Simulator(world_of, port=port)
        if fault:
            simulator.misbehave(Fault(fault, times, status, retry_after, seconds))
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"port {port} can't be used: {error.strerror}") from None
    # Shells make their background jobs ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    say(f"listening on {simulator.base_url}, key {KEY}")
    try:
        simulator.serve_forever()
    except KeyboardInterrupt:
        simulator.stop()
