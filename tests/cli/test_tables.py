"""Tables are as wide as the terminal: columns are left out by rank, texts are broken, rows become blocks."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from collector.cli.rows import brief_time
from collector.cli.tables import Table, lay_out, wrapped
from collector.reports.columns import Heading, Report
from collector.reports.timeline.measure import columns
from tests.support.builders import answer, region
from tests.support.command import collector
from tests.support.history import History
from tests.support.paths import ROOT
from tests.support.questions_page import REPORTS

HEADINGS = (Heading("name"), Heading("state"), Heading("zone", 3), Heading("since", 2))
ROWS = (["Luxembourg-2", "ACTIVE", "EMEA", "26 Nov 21:00"], ["Sines", "NEW", "EMEA", ""])


def lines(table: Table) -> list[str]:
    return [*table.heading, *table.lines]


def test_all_columns_are_shown_where_they_fit() -> None:
    table = lay_out(HEADINGS, ROWS, 80)
    assert lines(table) == [
        "name          state   zone  since",
        "Luxembourg-2  ACTIVE  EMEA  26 Nov 21:00",
        "Sines         NEW     EMEA",
    ]
    assert table.left_out == ()


def test_columns_are_left_out_by_their_rank() -> None:
    assert lay_out(HEADINGS, ROWS, 40).left_out == ()
    assert lay_out(HEADINGS, ROWS, 39).left_out == (2,)
    assert lay_out(HEADINGS, ROWS, 34).left_out == (2,)
    assert lay_out(HEADINGS, ROWS, 27).left_out == (3,), "a narrow one may fit where a wide one does not"
    assert lay_out(HEADINGS, ROWS, 25).left_out == (2, 3)


def test_rows_become_blocks_where_not_even_the_first_rank_fits() -> None:
    assert lines(lay_out(HEADINGS, ROWS, 17)) == [
        "name   Luxembourg",
        "       -2",
        "state  ACTIVE",
        "zone   EMEA",
        "since  26 Nov",
        "       21:00",
        "",
        "name   Sines",
        "state  NEW",
        "zone   EMEA",
    ]


def test_a_pipe_gets_a_line_for_each_row_however_long() -> None:
    table = lay_out(HEADINGS, [["x" * 500, *ROWS[0][1:]], ROWS[1]], None)
    assert len(table.lines) == 2
    assert table.lines[0] == f"{'x' * 500}  ACTIVE  EMEA  26 Nov 21:00"
    assert table.left_out == ()


def test_long_texts_are_broken_before_another_column_is_left_out() -> None:
    headings = (Heading("name"), Heading("why"), Heading("polls failed", 2))
    table = lay_out(headings, [["a", "word " * 10 + "word", "12"]], 44)
    assert lines(table) == [
        "name  why                             polls",
        "                                      failed",
        "a     word word word word word word   12",
        "      word word word word word",
    ]
    wide = lay_out(headings, [["a", "word " * 10 + "word", "12"]], 80)
    assert len(lines(wide)) == 2, "with room they are not"


def test_what_tells_nothing_apart_is_left_out_of_a_terminal() -> None:
    headings = (Heading("source", 2, tells_apart=True), Heading("name"), Heading("error", 2))
    assert lines(lay_out(headings, [["gcore", "a", ""], ["gcore", "b", ""]], 80)) == ["name", "a", "b"]
    assert lay_out(headings, [["gcore", "a", ""], ["other", "a", ""]], 80).heading == ("source  name",)
    assert lay_out(headings, [["gcore", "a", ""]], None).heading == ("source  name  error",)


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("Zürich", 6),
        ("Zu\u0308rich", 6),
        ("東京", 4),
        ("한국", 4),
        ("\u1112\u1161\u11ab", 2),
        ("ก็", 1),
        ("हि", 1),
        ("👍", 2),
        ("❤\ufe0f", 2),
        ("🇩🇪", 2),
    ],
)
def test_characters_count_by_their_width(text: str, width: int) -> None:
    assert columns(text) == width


def test_wide_characters_keep_columns_straight() -> None:
    table = lay_out(HEADINGS[:2], [["東京 👍", "ACTIVE"], ["Zu\u0308rich", "NEW"]], 80)
    assert [columns(line.rpartition(" ")[0]) for line in table.lines] == [8, 8]


texts = st.text(st.sampled_from("ab 東\u0308👍,-"), max_size=60)


@given(st.lists(st.tuples(texts, texts, texts, texts), min_size=1, max_size=5), st.integers(24, 100))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    assert all(columns(line) <= width for line in lines(lay_out(HEADINGS, rows, width)))


@given(texts, st.integers(2, 40))
def test_a_broken_text_loses_no_character_but_blanks(text: str, width: int) -> None:
    broken = wrapped(text, width)
    assert all(columns(line) <= width for line in broken)
    assert "".join(broken).replace(" ", "") == text.replace(" ", "")


def test_times_are_local_and_to_the_minute() -> None:
    now, berlin = datetime(2026, 12, 1, tzinfo=UTC), ZoneInfo("Europe/Berlin")
    assert brief_time(datetime(2026, 11, 26, 20, 0, 59, tzinfo=UTC), now, berlin) == "26 Nov 21:00"
    assert brief_time(datetime(2026, 7, 1, 20, tzinfo=UTC), now, berlin) == " 1 Jul 22:00"
    assert brief_time(datetime(2025, 7, 1, 20, tzinfo=UTC), now, berlin) == " 1 Jul 2025 22:00"
    assert brief_time(datetime(2025, 12, 31, 23, tzinfo=UTC), now, berlin) == " 1 Jan 00:00", "its year there"


@pytest.mark.parametrize("name", [name for name, report in REPORTS.items() if report.table])
def test_every_report_has_columns_that_are_always_shown(name: str) -> None:
    """Those of the first rank fit 80 columns, with names and states of the usual length."""
    report: Report = REPORTS[name]
    first = [heading for heading in report.table.values() if heading.rank == 1]
    assert first
    assert sum(max(len(heading.text), 12) + 2 for heading in first) <= 82


# As people see it


@dataclass(frozen=True)
class Terminal:
    """A terminal of some width on the database of a few regions."""

    url: str

    def shows(self, *arguments: str, width: int, **environment: str) -> list[str]:
        """What a process of its own shows on a pseudo-terminal, without colours."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        own = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
        with subprocess.Popen(
            [sys.executable, "-m", "collector", *arguments],
            stdout=slave,
            stderr=slave,
            env=own
            | {"COLLECTOR_DATABASE_URL": self.url, "TERM": "xterm", "PYTHONPATH": str(ROOT)}
            | environment,
        ) as process:
            os.close(slave)
            said = b""
            while chunk := _read(master):
                said += chunk
        os.close(master)
        assert process.returncode in (0, 1, 3), said
        return re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).splitlines()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # its other end was closed
        return b""


@pytest.fixture
def terminal(sqlite_url: str) -> Terminal:
    from collector.database.engine import open_engine

    engine = open_engine(sqlite_url)
    history = History(engine)
    names = [f"{name} {n}" for n, name in enumerate(("Zürich", "東京", "Sines", "São Paulo"))]
    for state in ("NEW", "DELETION_FAILED"):
        history.poll(
            [region(n, state, display_name=name, zone="AMERICAS") for n, name in enumerate(names, 1)]
        )
    history.restart()
    engine.dispose()
    return Terminal(sqlite_url)


def test_questions_fit_a_terminal_of_80_columns(terminal: Terminal) -> None:
    shown = terminal.shows("transitions", width=80, TZ="Asia/Tokyo")
    assert all(columns(line) <= 80 for line in shown)
    assert shown[0].split() == ["entity", "id", "region", "from", "to", "not", "before", "observed"]
    assert any(line.startswith("not shown: ") and "--format csv" in line for line in shown), shown
    assert "times are JST, to the minute (add --utc for full ones)" in shown
    wide = terminal.shows("transitions", width=200)
    assert not any(line.startswith("not shown: ") for line in wide), wide


def test_a_terminal_shows_the_newest_transitions_and_says_so(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.cli.evidence.NEWEST", 3)
    in_all = collector("transitions", database_url=terminal.url).out.splitlines()
    assert len(in_all) == 13, "a pipe gets all"
    monkeypatch.setenv("COLUMNS", "200")
    said = collector("transitions", database_url=terminal.url)
    assert len(said.out.splitlines()) == 4
    said.explains("only the newest 3 (add --limit for more)")
    limited = collector("transitions", "--limit", "5", database_url=terminal.url)
    assert len(limited.out.splitlines()) == 6
    assert "only the newest" not in limited.err


def test_sentences_are_broken_between_words(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    narrow = collector("explain", "sines 2", database_url=terminal.url).out
    monkeypatch.delenv("COLUMNS")
    piped = collector("explain", "sines 2", database_url=terminal.url).out
    sentence = piped.splitlines()[0]
    assert len(sentence) > 60
    assert " ".join(narrow.partition("\n\n")[0].split()) == sentence
    assert all(len(line) <= 60 for line in narrow.partition("\n\n")[0].splitlines())


@pytest.mark.parametrize(
    "command",
    [
        *("status", "regions", "history 'sines 2'", "transitions --utc", "explain 'sines 2'", "evidence 2"),
        *("coverage --unseen", "diff 2026-01-01", "availability --by day", "lead-time", "timeline"),
        "doctor --settings",
        *("audit verify", "audit anchors", "audit state 'sines 2' --at '3 days ago'", "audit anchor"),
        *(
            "sql 'SELECT * FROM regions'",
            "sql \"SELECT * FROM gaps WHERE from_at > 'May'\"",
            "sql 'SELECT x FROM gaps'",
        ),
        *(
            "regions --country ZZ",
            "regions --as-of 'last tusday'",
            "timeline --from 2020-01-01 --to 2020-02-01",
        ),
    ],
)
def test_prose_and_tables_fit_80_columns(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = collector(*shlex.split(command), database_url=terminal.url)
    folder = str(Path(terminal.url.removeprefix("sqlite:///")).parent)
    shown = (said.out + said.err).replace(terminal.url, "").replace(folder, "").splitlines()
    assert shown
    assert [line for line in shown if columns(line) > 80 and not re.search("[0-9a-f]{64}", line)] == []
    if said.code == 2:
        monkeypatch.delenv("COLUMNS")
        piped = collector(*shlex.split(command), database_url=terminal.url)
        assert piped.err.split() == said.err.split(), "it is broken between words only"


def test_a_time_stays_on_one_line(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in range(40, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        said = collector("explain", "sines 2", database_url=terminal.url).out
        assert not re.search(r"\d{4}-\d\d-\d\d\n", said)


def test_a_pipe_has_all_columns_and_full_times(terminal: Terminal) -> None:
    said = collector("regions", database_url=terminal.url)
    assert said.out.splitlines()[0].split()[:4] == ["source", "id", "region", "state"]
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", said.out)
    assert said.err == ""


def test_utc_shows_full_times_in_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    brief = collector("transitions", database_url=terminal.url)
    full = collector("transitions", "--utc", database_url=terminal.url)
    assert "to the minute" in brief.err
    assert not re.search(r"\d{4}-\d\d-\d\d ", brief.out)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", full.out)
    assert "to the minute" not in full.err


def test_what_was_not_shown_for_one_reason_is_one_row(sqlite_url: str) -> None:
    from collector.database.engine import open_engine

    engine = open_engine(sqlite_url)
    history = History(engine)
    history.poll([region(n, display_name=f"Region {n}") for n in range(1, 10)])
    history.poll(answer([region(1)], count=9))
    history.restart()
    engine.dispose()
    for limit in (["--limit", "1"], ["--limit", "2"], []):
        table = collector("coverage", "--unseen", *limit, database_url=sqlite_url).out.splitlines()
        assert "everything" in table[1], "since then nothing was polled"
        assert [re.sub(r".*?  8 r", "8 r", line) for line in table[2:]] == [
            "8 regions, 8 keystones: Region 2, Region 3, Region 4, Region 5, Region 6, Region 7 and 2 more"
        ][: 0 if limit[1:] == ["1"] else 1]
    rows = collector("coverage", "--unseen", "--format", "json", database_url=sqlite_url).json
    assert len([row for row in rows if row["entity"] == "region"]) == 8
