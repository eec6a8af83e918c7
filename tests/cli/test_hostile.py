"""What the cloud says reaches no terminal as anything but text, whatever command prints it."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import logs
from collector.cli import printing
from collector.printable import printable
from tests.support.builders import answer, body, keystone, region
from tests.support.command import ALL_COMMANDS, collector
from tests.support.logging_kept import logging_kept
from tests.support.loopback import Server, error, reply

FORGED = "gcore: ok, all is well"
HOSTILE = f"\x1b]0;title\x07\x1b[2J\x9b31m\u202eEVIL\u2066\u200b\x7f\x08\r\n{FORGED}\n\t\x85\u2028"
LONG = HOSTILE + "x" * 10_000
SINGLE = HOSTILE.replace("\n", "").replace("\r", "")

OWN_WORLD = {"collector demo", "collector simulate", "collector run", "collector web", "collector mcp"}
"""They print what they made up themselves, or JSON for a program; what `run` says are logs, see below."""
ARGUMENTS = {
    # {new}: a file that does not exist yet
    "collector poll": ["", "--source nonsense"],
    "collector status": ["", "--format json"],
    "collector regions": ["", "--format json", "--format csv"],
    "collector history": ["1", "1 --format json", "1 --format csv", "nonsense"],
    "collector transitions": ["", "--format json", "--format csv", "--to-state {hostile}"],
    "collector explain": ["2/region/1", "2/region/1 --format json", "{hostile}"],
    "collector evidence": ["1", "2 --format json", "3", "2 --region 1", "2 --region {hostile}"],
    "collector coverage": ["", "--unseen", "--format csv"],
    "collector diff": ["yesterday now", "yesterday now --format json", "yesterday now --format csv"],
    "collector availability": ["", "--by region", "--format json"],
    "collector lead-time": ["", "--format json"],
    "collector timeline": ["", "--format json", "-o {new}.svg", "--region {hostile}"],
    "collector sql": [
        "'SELECT * FROM regions'",
        "'SELECT * FROM regions' --format json",
        "'SELECT * FROM regions' --format csv",
        "'SELECT * FROM {hostile}'",
        "'SELECT :a' --param a={hostile}",
    ],
    "collector export": ["{new}", "{new} --format csv"],
    "collector doctor": ["--offline --settings", ""],
    "collector import": ["{folder} --source other --dry-run", "{folder} --source gcore --dry-run"],
    "collector audit verify": ["", "--format json", "--head {hostile}", "--record"],
    "collector audit anchor": ["", "--source {hostile}"],
    "collector audit anchors": ["", "--source {hostile}"],
    "collector audit state": ["1 --at now", "1 --at now --format json", "{hostile} --at now"],
    "collector audit head": [""],
    "collector audit pack": ["--from yesterday -o {new}", "--region {hostile} -o {new}"],
    "collector db upgrade": [""],
    "collector db current": [""],
    "collector db check": [""],
    "collector db rebuild": ["--check", "", "--source {hostile}"],
    "collector db backup": ["{new}"],
    "collector db copy": ["--to sqlite:///{new}"],
    "collector db prune": ["--keep 400d", "--keep 1d --dry-run", "--keep {hostile}"],
    "collector db redact": ["results[].slug --dry-run", "results[].{hostile} --dry-run", "{hostile}"],
    "collector webhooks list": ["", "--events", "--dead --format json", "{hostile}"],
    "collector webhooks retry": ["", "{hostile}", "--source {hostile}"],
    "collector webhooks test": ["", "{hostile}"],
    "collector webhooks deliver": ["", "{hostile}"],
}


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of a history in which every text is hostile."""
    path = tmp_path_factory.mktemp("hostile") / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    url = f"sqlite:///{path}"
    region_1 = region(
        1, display_name=LONG, slug=HOSTILE, keystone=keystone(1001, state=HOSTILE), zone=HOSTILE
    )
    said = [
        reply(body=body(answer([region_1 | {"state": "A" + HOSTILE}, region(2, **{HOSTILE: HOSTILE})]))),
        reply(body=body(answer([region_1 | {"state": LONG, "country": HOSTILE}, region(3), {HOSTILE: 1}]))),
        error(401, SINGLE, SINGLE, request_id=SINGLE),
    ]
    with Server(*said) as server:
        settings = {"database_url": url, "base_url": server.url, "api_key": "hostile-key", "interval": "1s"}
        printed = [collector("poll", **settings) for _ in said]
        assert [p.code for p in printed] == [0, 0, 1], printed
        for each in printed:
            assert_harmless(each.out + each.err)
        yield settings


def assert_harmless(text: str) -> None:
    assert printing.harmless(text) == text
    assert not re.search(rf"^\s*{FORGED}", text, re.MULTILINE), "a line that the cloud made up"


def test_every_command_is_tried() -> None:
    assert {*ARGUMENTS} | OWN_WORLD == {*ALL_COMMANDS}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_no_command_prints_what_moves_a_terminal(
    world: dict[str, str], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / f"2026-05-01T00:00:00Z{SINGLE.replace('/', '')}.json").write_bytes(body(answer([])))
    for number, arguments in enumerate(ARGUMENTS[command]):
        words = [
            word.format(new=tmp_path / f"new{number}", folder=tmp_path / "saved", hostile=HOSTILE)
            for word in shlex.split(arguments)
        ]
        said = collector(*command.split()[1:], *words, **world)
        assert said.out + said.err
        assert "Traceback" not in said.err, said.err
        if "csv" not in arguments or command == "collector export":
            assert_harmless(said.out)
        assert_harmless(said.err)


def test_what_is_piped_to_programs_is_exact(world: dict[str, str]) -> None:
    rows = collector("regions", "--format", "json", **world).json
    assert {row["display_name"] for row in rows} >= {LONG}
    text = collector("regions", "--format", "csv", **world).out
    assert next(csv.DictReader(io.StringIO(text, newline="")))["slug"] == HOSTILE


def test_csv_on_a_terminal_is_harmless(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    printing.say_data(f"a,{SINGLE}\n")
    assert_harmless(capsys.readouterr().out)


@pytest.mark.parametrize("blank", ["\xa0", "\u2009", "\u202f", "\u3000"])
def test_a_blank_of_another_width_in_a_name_is_printed_as_a_blank(blank: str) -> None:
    assert printing.harmless(f"Saint{blank}Pierre\n") == "Saint Pierre\n"
    assert printable(f"Saint{blank}Pierre\n") == "Saint Pierre\N{REPLACEMENT CHARACTER}"


def test_nothing_is_printed_anywhere_else() -> None:
    root = Path(printing.__file__).parent
    elsewhere = [
        f"{file.name}: {line.strip()}"
        for file in sorted(root.glob("*.py"))
        if file.name not in ("printing.py", "streams.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"click\.(?:s?echo|style)\(|\bprint\(|Console\(|std(?:out|err)\.write", line)
        and "text.encode()" not in line  # an SVG, as bytes
    ]
    assert elsewhere == []


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_log_moves_a_terminal(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_kept():
        logs.configure(form=form)  # type: ignore[arg-type]
        log = logs.logger("collector.test")
        log.info("transition", name=HOSTILE, **{HOSTILE.strip(): 1}, to=[HOSTILE])
        one_line = capsys.readouterr().err
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("broke")
    assert_harmless(one_line)
    said = capsys.readouterr().err
    assert "\x1b" not in one_line + said, "colours are for a terminal"
    assert printing.harmless(said) == said
    if form == "json":
        assert json.loads(one_line)["name"] == HOSTILE
