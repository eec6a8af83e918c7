"""Forks stand for processes that were started: what a test sees of them is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import forks

TELL = """
import json, os, random, sys, threading
here = [os.getcwd(), dict(os.environ), sys.argv, sys.stdin.read(), __name__, threading.active_count()]
print(json.dumps(here))
print(random.random(), os.listdir("/proc/self/fd").__len__(), file=sys.stderr)
"""


def test_a_fork_has_its_own_folder_environment_arguments_and_streams(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TELL, "a", "b"]
    own = {"HOME": "/", "A": "ü"}
    said = []
    for _ in range(2):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with forks.Popen(command, cwd=tmp_path, env=own, text=True, **pipes) as process:
            out, err = process.communicate("read", timeout=60)
        assert process.returncode == 0, err
        assert json.loads(out) == [str(tmp_path), own, ["-c", "a", "b"], "read", "__main__", 1]
        said.append(err)
    random, descriptors = said[0].split()
    assert random != said[1].split()[0]
    assert int(descriptors) == 4  # of the three streams, and of the folder that it lists


@pytest.mark.parametrize(
    ("program", "code", "err"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("1 / 0", 1, "ZeroDivisionError"),
        (
            "import threading, time; threading.Thread(target=lambda: time.sleep(0.1) or print('late')).start()",
            0,
            "",
        ),
        ("import atexit; atexit.register(print, 'late')", 0, ""),
    ],
)
def test_a_fork_ends_as_a_program_does(program: str, code: int, err: str) -> None:
    command = [sys.executable, "-c", program]
    started = subprocess.run(command, capture_output=True, text=True, check=False)
    done = forks.run(command, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, started.stdout)
    assert started.returncode == code
    assert err in done.stderr
    assert (done.stderr == "") == (err == "")


def test_a_fork_is_a_process_that_can_be_waited_for_signalled_and_killed() -> None:
    command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, -2)):
        with forks.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "up\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0)
            assert process.poll() is None
            os.kill(process.pid, number)
            assert process.wait(60) == process.poll() == code
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


def test_what_the_interpreter_decides_at_its_start_is_decided() -> None:
    own = dict(os.environ) | {"PYTHONIOENCODING": "ascii:backslashreplace"}
    done = forks.run([sys.executable, "-c", "print('ü')"], env=own, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\\xfc\n"), done.stderr


def test_what_is_no_program_of_python_is_started() -> None:
    assert forks.run(["sh", "-c", "echo $0; exit 4"], text=True, timeout=60).returncode == 4
