"""Every example in the documentation is what a fresh demo answers at a fixed time.

An example is a block that begins with `$ collector …`; what was said on stderr and stdout follows. A line with only
`…` stands for any lines. Nobody writes them by hand:

    python -m tests.cli.test_examples --write
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.demo import DIGEST, DemoDatabase
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A command, and what stands under it."""

    command: str
    said: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.command)[1:]


def examples(block: str) -> Iterator[Example]:
    """The commands of a block, if it has any."""
    lines = block.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ collector")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        yield Example(lines[start].removeprefix("$ "), lines_of("\n".join(lines[start + 1 : end])))


def all_examples(page: Path) -> list[Example]:
    return [e for _, text in BLOCK.findall(page.read_text(encoding="utf-8")) for e in examples(text)]


def lines_of(text: str) -> tuple[str, ...]:
    """Lines without blanks at their ends, and without empty ones at the end."""
    return tuple(line.rstrip() for line in text.rstrip().splitlines())


def parts(lines: Sequence[str]) -> list[list[str]]:
    """What stands between the lines that stand for any lines."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == "…":
            found.append([])
        else:
            found[-1].append(line)
    return found


def agree(shown: Sequence[str], said: Sequence[str]) -> bool:
    """Whether this was said, where `…` stands for any lines."""
    first, *others = parts(shown)
    rest = list(said)
    if rest[: len(first)] != first:
        return False
    rest = rest[len(first) :]
    if not others:
        return not rest
    *middle, last = others
    for part in middle:
        places = [n for n in range(len(rest)) if rest[n : n + len(part)] == part]
        if not places:
            return False
        rest = rest[places[0] + len(part) :]
    return len(rest) >= len(last) and rest[len(rest) - len(last) :] == last


def shortened(shown: Sequence[str], said: Sequence[str]) -> list[str]:
    """What was said, shortened as `shown` was: parts of the same length, in the middle where it is most alike."""
    marks = [line for line in shown if line.strip() == "…"]
    first, *others = parts(shown)
    if not others or len(first) + len(others[-1]) >= len(said):
        return list(said)
    *middle, last = others
    rest, end = list(said[len(first) : len(said) - len(last)]), list(said[len(said) - len(last) :])
    found = [list(said[: len(first)])]
    for part in middle:
        alike = difflib.get_close_matches(part[0], rest, n=1, cutoff=0.0)
        place = rest.index(alike[0])
        found.append(rest[place : place + len(part)])
        rest = rest[place + len(part) :]
    found.append(end)
    lines = found[0]
    for mark, part in zip(marks, found[1:], strict=True):
        lines += [mark, *part]
    return lines


def ask(demo: DemoDatabase, asked: Sequence[Example]) -> list[tuple[int, tuple[str, ...]]]:
    """The exit code and the lines that each gives. Digests differ from demo to demo: a command that names one means
    the head."""
    head = str(demo.query("SELECT opening_digest FROM observations ORDER BY seq DESC")[0][0])
    answers = demo.ask(*([DIGEST.sub(head, a) for a in example.arguments] for example in asked))
    shown = [DIGEST.findall(example.command) or [head] for example in asked]
    return [
        (answer.code, lines_of(answer.said.replace(head, digest)))
        for answer, (digest, *_) in zip(answers, shown, strict=True)
    ]


def commands_about_the_demo(page: str) -> list[str]:
    """Those of a block that first points to the demo's file, as a person pastes it."""
    blocks = [text for _, text in BLOCK.findall(page) if "=sqlite:///collector-demo.db" in text]
    return [line for text in blocks for line in text.splitlines() if line.startswith("collector ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_show_what_is_really_said(page: Path, demo_database: DemoDatabase) -> None:
    found = all_examples(page)
    for example, (code, said) in zip(found, ask(demo_database, found), strict=True):
        assert code == 0, example.command
        if not agree(example.said, said):
            assert "\n".join(example.said) == "\n".join(said), f"$ {example.command}"


def test_there_are_examples(demo_database: DemoDatabase) -> None:
    commands = commands_about_the_demo((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(commands) >= 5
    answers = demo_database.ask(*(shlex.split(command)[1:] for command in commands))
    for command, answer in zip(commands, answers, strict=True):
        assert answer.code == 0, command
        assert len(answer.said.splitlines()) >= 2, command


def test_sql_is_answered_at_the_same_time(demo_database: DemoDatabase) -> None:
    gaps = demo_database.query("SELECT cause, until_at IS NULL FROM coverage_gaps ORDER BY from_at")
    assert gaps == [("http_status", 0), ("no_polls", 0), ("no_polls", 0)], "none has opened since"


@pytest.mark.parametrize(
    ("shown", "said", "expected"),
    [
        ("ab", "ab", True),
        ("ab", "abc", False),
        ("a", "b", False),
        ("a…", "abc", True),
        ("a…", "a", True),
        ("…c", "abc", True),
        ("…c", "ab", False),
        ("a…c…e", "abcde", True),
        ("a…d…ce", "abcde", False),
        ("ab…bc", "abc", False),
        ("…", "", True),
    ],
)
def test_three_dots_stand_for_any_lines(shown: str, said: str, expected: bool) -> None:
    assert agree(list(shown), list(said)) is expected


def test_an_example_is_shortened_as_it_was() -> None:
    shown, said = ["a 1", "…", "c 1", "…", "e 1", "f 1"], ["a 2", "b 2", "c 2", "d 2", "e 2", "f 2"]
    assert shortened(shown, said) == ["a 2", "…", "c 2", "…", "e 2", "f 2"]
    assert shortened(["a 1", "…", "b 1"], ["a 2"]) == ["a 2"]
    assert shortened(["a 1"], ["a 2", "b 2"]) == ["a 2", "b 2"]


def write() -> None:
    """Put what is really said into the documentation; look at the difference before you keep it."""
    with tempfile.TemporaryDirectory() as folder:
        demo = DemoDatabase.make(Path(folder))
        asked = [example for page in PAGES for example in all_examples(page)]
        answers = iter(ask(demo, asked))

    def renewed(block: re.Match[str]) -> str:
        lines: list[str] = []
        for example in examples(block[2]):
            _, said = next(answers)
            kept = example.said if agree(example.said, said) else shortened(example.said, said)
            lines += [f"$ {example.command}", *kept]
        return f"```{block[1]}\n" + "\n".join(lines) + "\n```" if lines else block[0]

    for page in PAGES:
        page.write_text(BLOCK.sub(renewed, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
