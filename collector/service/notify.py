"""Reports the service's state to systemd: the protocol of sd_notify(3), if NOTIFY_SOCKET is set."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(*lines: str) -> None:
    """Send assignments like READY=1 or STATUS=…; does nothing without a supervisor that listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.send("\n".join(lines).encode())


def wants_watchdog() -> bool:
    """True if systemd restarts the service when it stops sending WATCHDOG=1."""
    return "WATCHDOG_USEC" in os.environ and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(
        os.getpid()
    )
