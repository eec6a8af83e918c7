"""Answers that a scraper committed to a git repository: the versions of one file.

The repository may be hostile. Only commands are used that run nothing from it (no hooks, filters, pagers, signature
checks or remotes), and no object is read before its size is known.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from bisect import bisect_right
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO

from collector.archive.filetimes import Moment
from collector.archive.saved import Found, Saved, Skipped, UnreadableError, require_folder, unpacked
from collector.errors import UsageError
from collector.gcore.body import MAX_BODY

_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    # A partial clone would fetch missing objects with a command from its own configuration. Not every git version
    # knows the first of these two.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}


class GitFile:
    """The versions of one file in the history of HEAD. Must be closed."""

    def __init__(self, folder: Path, path: str, max_body: int = MAX_BODY) -> None:
        """`path`: relative to `folder`, which is a repository or a folder in one."""
        git = shutil.which("git")
        if git is None:
            raise UsageError("there is no `git` on the PATH; --git-file needs it")
        self._git = git
        require_folder(folder)
        if "\n" in path or "\0" in path:
            raise UsageError("--git-file: a path can't contain line breaks")
        self.folder = folder
        self.max_body = max_body
        if self._ask("rev-parse", "--is-shallow-repository") == "true":
            raise UsageError(
                f"{folder} is a shallow clone: the date of its oldest version may be later than when that version was "
                "saved; run `git fetch --unshallow` in it"
            )
        inside = os.path.normpath(self._ask("rev-parse", "--show-prefix") + path)
        if inside.startswith(("/", "..")):
            raise UsageError(
                f"--git-file: {path} is not in the repository; give the path relative to {folder}"
            )
        self.path = inside

    def find(self) -> Found:
        """The versions by their commits' author dates, oldest first, along first parents.

        As few versions as possible are left out so that the dates agree with the order of history.
        """
        try:
            commits = self._ask(
                "rev-list", "--first-parent", "--reverse", "--format=%at %ct %P", "HEAD", "--",
                f":(top,literal){self.path}",
            ).splitlines()  # fmt: skip
        except UsageError as error:
            if "bad revision" in str(error) or "ambiguous argument" in str(error):
                raise UsageError(f"the repository {self.folder} has no commits") from None
            raise
        if not commits:
            raise UsageError(f"no commit of {self.folder} touches {self.path}")
        saved: list[Saved] = []
        skipped: list[Skipped] = []
        moved = 0
        for head, line in zip(commits[::2], commits[1::2], strict=True):
            commit = head.removeprefix("commit ")
            authored, committed, *parents = line.split()
            name = f"commit {commit[:12]}"
            try:
                if len(parents) > 1:
                    raise UnreadableError("is a merge: the answer was saved before, on another branch")
                place = self._blob(f"{commit}:{self.path}")
                at = datetime.fromtimestamp(int(authored), UTC)
            except UnreadableError as error:
                skipped.append(Skipped(name, str(error)))
            except (ValueError, OverflowError, OSError):
                skipped.append(Skipped(name, "its author date is not a valid time"))
            else:
                saved.append(Saved(name, Moment(at, at), "commit", place))
                moved += authored != committed
        rising = _rising([each.when.at for each in saved])
        skipped += [
            Skipped(each.name, "its author date contradicts the order of the commits")
            for n, each in enumerate(saved)
            if n not in rising
        ]
        notes = []
        if moved:
            notes.append(f"{moved} were committed again later (a rebase?); the first date of each counts")
        kept = tuple(each for n, each in enumerate(saved) if n in rising)
        return Found(kept, tuple(skipped), 0, tuple(notes), is_in_order=True, only_changes=True)

    def read(self, saved: Saved) -> bytes:
        """Read a version's bytes. Raises UnreadableError."""
        size = self._answer(self._contents, saved.place)[1]
        body = _exactly(self._contents, size + 1)[:-1]
        return unpacked(self.path, body, self.max_body)

    def close(self) -> None:
        for name in ("_sizes", "_contents"):
            process: subprocess.Popen[bytes] | None = self.__dict__.pop(name, None)
            if process is not None:
                process.kill()  # it only reads, so killing it is safe
                process.communicate()

    def _blob(self, name: str) -> str:
        """The object at `COMMIT:PATH`. Raises UnreadableError if it can't be read."""
        kind, size, oid = self._answer(self._sizes, name)
        if kind == "missing":
            raise UnreadableError("does not have the file: it was removed, or this clone does not contain it")
        if kind != "blob":
            raise UnreadableError("has something other than a file at this path")
        if size > self.max_body:
            raise UnreadableError(f"is larger than {self.max_body:,} bytes")
        return oid

    def _answer(self, process: subprocess.Popen[bytes], name: str) -> tuple[str, int, str]:
        """Type, size and name of an object."""
        asked, answers = _pipes(process)
        try:
            asked.write(os.fsencode(name) + b"\n")
            asked.flush()
        except OSError:
            raise UnreadableError("can't be read: git exited") from None
        line = os.fsdecode(answers.readline()).rstrip("\n")
        if not line:
            raise UnreadableError("can't be read: git exited; check the repository with `git fsck`")
        if line.endswith((" missing", " ambiguous")):
            return "missing", 0, ""
        oid, kind, size = line.rsplit(" ", 2)
        return kind, int(size), oid

    @cached_property
    def _sizes(self) -> subprocess.Popen[bytes]:
        return self._start("cat-file", "--batch-check")

    @cached_property
    def _contents(self) -> subprocess.Popen[bytes]:
        return self._start("cat-file", "--batch")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            self._command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )

    def _ask(self, *arguments: str) -> str:
        """The output of a git command. Raises UsageError with git's own words."""
        done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            self._command(*arguments), env=_environment(), capture_output=True, check=False
        )
        if done.returncode:
            said = " ".join(os.fsdecode(done.stderr).removeprefix("fatal: ").split())
            if "dubious ownership" in said:
                raise UsageError(
                    f"{self.folder} belongs to another user, so git does not trust it. If you do, run "
                    f"git config --global --add safe.directory '{self.folder.resolve()}'"
                )
            if "not a git repository" in said:
                raise UsageError(f"{self.folder} is not a git repository")
            raise UsageError(f"git can't read {self.folder}: {said[:300]}")
        return os.fsdecode(done.stdout).rstrip("\n")

    def _command(self, *arguments: str) -> list[str]:
        return [self._git, *_OPTIONS, "-C", str(self.folder), *arguments]


def _environment() -> dict[str, str]:
    """The environment without variables that redirect git.

    The user's and the system's git settings stay, because they list the trusted folders.
    """
    kept = {n: v for n, v in os.environ.items() if not n.startswith("GIT_") or n.startswith("GIT_CONFIG_")}
    return kept | _ENVIRONMENT


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None  # noqa: S101 - started with pipes
    assert process.stdout is not None  # noqa: S101 - the same
    return process.stdin, process.stdout


def _exactly(process: subprocess.Popen[bytes], size: int) -> bytes:
    body = _pipes(process)[1].read(size)
    if len(body) != size:
        raise UnreadableError("can't be read: git exited; check the repository with `git fsck`")
    return body


def _rising(times: list[datetime]) -> set[int]:
    """The positions of the times to keep, as many as possible, so that times never decrease."""
    ends: list[datetime] = []  # the earliest end of a non-decreasing sequence of each length
    lengths = []
    for time in times:
        place = bisect_right(ends, time)
        ends[place : place + 1] = [time]
        lengths.append(place)
    kept: set[int] = set()
    wanted, limit = len(ends) - 1, None
    for n in range(len(times) - 1, -1, -1):
        if lengths[n] == wanted and (limit is None or times[n] <= limit):
            kept.add(n)
            wanted, limit = wanted - 1, times[n]
    return kept
