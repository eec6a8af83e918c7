"""What somebody typed is wrong, half of it, or asks a database that is not there: what is closest, and what to do."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.cli.mistakes import next_step
from collector.database.engine import open_engine
from collector.nearest import instead, listed, nearest
from tests.support.builders import keystone, region
from tests.support.command import ALL_COMMANDS, collector, process
from tests.support.history import History

QUESTIONS = {
    "collector regions": [],
    "collector history": ["1"],
    "collector transitions": [],
    "collector explain": ["1/region/1"],
    "collector evidence": ["1"],
    "collector coverage": [],
    "collector diff": ["yesterday"],
    "collector availability": [],
    "collector lead-time": [],
    "collector timeline": [],
    "collector export": ["{new}"],
    "collector audit state": ["1", "--at", "now"],
    "collector audit pack": ["--from", "yesterday", "-o", "{new}"],
}
"""Commands that have no answer before the first poll."""
ABOUT_NOW = {
    "collector status": [],
    "collector webhooks list": [],
    "collector audit head": [],
    "collector audit anchors": [],
    "collector audit verify": [],
    "collector db current": [],
    "collector db check": [],
    "collector db rebuild": [],
    "collector db backup": ["{new}"],
    "collector db copy": ["--to", "sqlite:///{new}"],
    "collector db prune": ["--keep", "400d"],
    "collector db redact": ["results[].slug"],
    "collector webhooks retry": [],
    "collector sql": ["SELECT 1"],
}
"""Commands that need a database, and nothing in it."""
MAKES_ONE_OR_NEEDS_NONE = {
    *("collector run", "collector poll", "collector demo", "collector simulate", "collector import"),
    *("collector db upgrade", "collector doctor", "collector web", "collector mcp"),
    # They need a receiver or an anchor first.
    *("collector webhooks test", "collector webhooks deliver", "collector audit anchor"),
}


def words(command: str, folder: Path) -> list[str]:
    arguments = (QUESTIONS | ABOUT_NOW)[command]
    return [*command.split()[1:], *(each.format(new=folder / "new") for each in arguments)]


def test_every_command_is_tried() -> None:
    assert {*QUESTIONS, *ABOUT_NOW} | MAKES_ONE_OR_NEEDS_NONE == {*ALL_COMMANDS}


@pytest.mark.parametrize("command", [*QUESTIONS, *ABOUT_NOW])
def test_without_a_database_the_next_step_is_named_and_nothing_is_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = collector(*words(command, tmp_path), database_url="sqlite:///none.db")
    said.refused(1, f"no database none.db in {tmp_path}", "collector poll", "COLLECTOR_DATABASE_URL")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    said = collector("audit", "verify", database_url=f"sqlite:///{tmp_path}")
    said.refused(1, f"the database {tmp_path} can't be used: it is a folder", "COLLECTOR_DATABASE_URL")


@pytest.mark.parametrize("command", QUESTIONS)
def test_before_the_first_poll_questions_say_so(command: str, sqlite_url: str, tmp_path: Path) -> None:
    said = collector(*words(command, tmp_path), database_url=sqlite_url)
    assert (said.code, said.out) == (2, "")
    assert said.err.endswith("nothing was polled into this database yet; run `collector poll`\n")


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("db prune --keep 400", 2, "not 400 seconds: write --keep 400d for 400 days"),
        ("db backup {new}/backup.db", 2, "{new} does not exist"),
        ("audit pack --from yesterday -o {new}/pack.zip", 2, "the folder {new} does not exist"),
        ("db backup {long}", 1, "it can't be used (File name too long)"),
        ("audit pack --from yesterday -o {long}", 1, "it can't be used (File name too long)"),
        ("demo --file {long}", 1, "it can't be used (File name too long)"),
        ("audit anchor", 0, "nothing was polled into this database yet, so there is nothing to anchor"),
    ],
)
def test_a_mistake_is_named_with_what_was_typed(
    typed: str, code: int, said: str, sqlite_url: str, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    words = typed.format(new=new, long=tmp_path / ("x" * 300)).split()
    found = collector(*words, database_url=sqlite_url, anchor=f"file:{tmp_path}/heads")
    assert (found.code, found.out) == (code, "")
    assert said.format(new=new) in found.err


@pytest.mark.long
def test_the_first_poll_says_where_the_database_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under cron the current folder is another one."""
    monkeypatch.chdir(tmp_path)
    settings = {"base_url": "http://127.0.0.1:1", "api_key": "x", "interval": "1s"}
    first = collector("poll", database_url="sqlite:///here.db", **settings)
    assert first.out == f"the database {tmp_path / 'here.db'} is new\n"
    assert collector("poll", database_url="sqlite:///here.db", **settings).out == ""
    assert collector("poll", "--quiet", database_url="sqlite:///there.db", **settings).out == ""


@pytest.fixture(scope="module")
def url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three regions, one of which was in MAINTENANCE, and is gone."""
    path = tmp_path_factory.mktemp("mistakes") / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{path}")
    history = History(engine)
    places = {"zone": "EMEA", "country": "LU"}
    named = [
        region(n, display_name=f"Luxembourg {n}", slug=f"luxembourg-{n}", keystone=keystone(9), **places)
        for n in (1, 2, 3)
    ]
    history.poll(named)
    history.poll([*named[:2], named[2] | {"state": "MAINTENANCE"}])
    history.poll(named[:2])
    history.restart()
    engine.dispose()
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("regions --state ACTIV", "did you mean ACTIVE"),
        ("regions --state maint", "did you mean MAINTENANCE?"),
        ("regions --state INITIALIZED", "no region was ever in state 'INITIALIZED'; known are: ACTIVE, "),
        ("regions --zone EME", "did you mean EMEA?"),
        ("regions --country Luxembourg", "did you mean LU?"),
        ("regions --country DE", "no region was ever in country 'DE'; known are: LU"),
        ("regions --region luxem", "did you mean Luxembourg 1, Luxembourg 2 or Luxembourg 3?"),
        ("history Nowhere", "known are: Luxembourg 1, "),
        ("transitions --to-state MAINTENANC", "did you mean MAINTENANCE?"),
        ("transitions --from-state FOO", "no region or keystone was ever in state 'FOO'; known are: "),
        ("transitions --entity keystone --to-state ACTIVE", "no keystone was ever in state 'ACTIVE'"),
        ("lead-time --to-state ACTVE", "did you mean ACTIVE"),
        ("lead-time --from-state NWE", "did you mean NEW"),
        ("lead-time --entity keystone --to-state INITIALISED", "did you mean INITIALIZED"),
        ("availability --state ACTIV", "did you mean ACTIVE"),
        ("availability --tz Europe/Luxemburg", "did you mean Europe/Luxembourg?"),
        ("timeline luxembourg-4", "did you mean "),
        ("status --source gcor", "did you mean gcore?"),
        ("transitions --source else", "known are: gcore"),
        ("poll --source gcro", "the settings name no source 'gcro'; did you mean gcore?"),
        ("import . --source gcro", "did you mean gcore?"),
        ("export {new} --only region_transition", "did you mean region_transitions"),
        ("db rebuild --source gcor", "did you mean gcore?"),
        ("audit state luxembourg-4 --at now", "did you mean "),
        ("audit verify --source gcor", "did you mean gcore?"),
        ("webhooks retry somebody", "there is no receiver 'somebody'"),
        ("explain 2", "observation 2 showed 2/region/3"),
        ("explain 2/region/4", "observation 2 showed 2/region/3"),
        ("explain 1", "observation 1 showed 1/region/1, 1/region/2, 1/region/3 and "),
        ("explain region/3", "`collector transitions` lists them"),
        ("explain luxem", "did you mean Luxembourg 1, "),
        ("evidence 9", "the newest is 3"),
        ("evidence twelve", "'twelve' is not a valid whole number"),
        ("evidence 0", "0 is not in the range x>=1"),
        ("evidence 9223372036854775808", "9223372036854775808 is too large"),
        ("regions --as-of yesterda", "did you mean 'yesterday'"),
        ("regions --as-of 2daysago", "did you mean '2 days ago'?"),
        ("regions --as-of '3 dyas'", "did you mean '3 days ago'"),
        ("regions --as-of 2 days ago", "did you mean '2 days ago'?"),
        ("regions --stat ACTIVE", "Did you mean '--state'?"),
        ("region", "Did you mean 'regions'?"),
        ("regions luxembourg-1", "write --region luxembourg-1"),
        ("history luxembourg 1", "written in quotes"),
    ],
)
def test_the_closest_is_named(url: str, typed: str, named: str, tmp_path: Path) -> None:
    arguments = [word.format(new=tmp_path / "new") for word in shlex.split(typed)]
    said = collector(*arguments, database_url=url, api_key="x")
    assert (said.code, said.out) == (2, ""), said
    said.explains(named)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("regions --state NEW", "no region was ever in state 'NEW'"),
        ("regions --zone apac", "no region was ever in zone 'apac'"),
        ("transitions --to-state INITIALIZATION_FAILED", "no region or keystone was ever in state"),
        ("availability --state INACTIVE", "no region was ever in state 'INACTIVE'"),
        ("lead-time --to-state INACTIVE", "no region was ever in state 'INACTIVE'"),
    ],
)
def test_a_documented_state_that_was_never_seen_is_no_mistake(url: str, typed: str, said: str) -> None:
    answer = collector(*typed.split(), database_url=url)
    assert answer.code == 0
    answer.explains(said)


@pytest.mark.parametrize(
    "typed",
    [
        "regions --state MAINTENANCE",
        "regions --state active --zone emea --country lu --no-gpu",
        "transitions --to-state maintenance --from yesterday",
        "availability --state ABSENT",
        "availability --state MAINTENANCE --region luxembourg-1",
        "lead-time --from-state MAINTENANCE --to-state ABSENT",
    ],
)
def test_a_state_that_was_once_seen_may_be_asked_for(url: str, typed: str) -> None:
    answer = collector(*typed.split(), database_url=url)
    assert answer.code == 0
    assert "was ever" not in answer.err


def test_a_region_stands_for_its_newest_transition(url: str) -> None:
    by_name, by_reference = (
        collector("explain", what, "--format", "json", database_url=url)
        for what in ("luxembourg-3", "3/region/3")
    )
    assert by_name.code == 0
    assert by_name.json == by_reference.json
    assert by_name.json["transition"]["kind"] == "disappeared"


def test_a_source_of_the_settings_that_was_not_polled_yet_is_named(url: str) -> None:
    said = collector("regions", "--source", "other", database_url=url, source="other")
    said.refused(2, "source 'other' was never polled into this database", "collector poll")


def test_a_database_of_a_thousand_sources_does_not_list_them_all() -> None:
    names = [f"source-{n}" for n in range(1000)]
    assert instead("reseller", names).endswith("source-9 and 990 more")
    assert len(instead("source", names)) < 60
    assert listed([]) == "none yet"


def test_names_are_near_that_begin_alike_or_are_spelled_alike() -> None:
    states = ["ACTIVE", "INACTIVE", "MAINTENANCE", "NEW"]
    assert nearest("activ", states) == ["ACTIVE", "INACTIVE"]
    assert nearest("MANTENANCE", states) == ["MAINTENANCE"]
    assert nearest("xyz", states) == nearest("", states) == []
    assert nearest("Germany", ["DE", "GE"]) == ["GE"], "a name may be the beginning of what was typed"


def test_the_option_of_the_settings_file_belongs_before_the_command() -> None:
    said = collector("poll", "--config", "x.toml")
    assert (said.code, said.err.splitlines()[-1]) == (
        2,
        "Write it before the command: collector --config FILE COMMAND",
    )


def test_an_option_of_other_programs_is_translated() -> None:
    for command, typed, meant in (("coverage", "--since", "--from"), ("transitions", "--until", "--to")):
        assert collector(command, typed, "yesterday").err.endswith(f"\nWrite {meant}.\n")
    assert "Write" not in collector("status", "--since", "yesterday").err


def test_a_mistake_without_a_command_needs_no_next_step() -> None:
    import click

    assert next_step(click.UsageError("Got unexpected extra argument (x)")) == ""


@pytest.mark.long
def test_a_process_under_cron_names_the_folder_that_it_looked_in(tmp_path: Path) -> None:
    said = process("regions", cwd=tmp_path)
    said.refused(1, f"no database collector.db in {tmp_path}")


@pytest.mark.parametrize("bind", ["nonsense", "127.0.0.1:99999", "8080"])
def test_an_address_that_is_none_is_named(sqlite_url: str, bind: str) -> None:
    collector("web", "--bind", bind, database_url=sqlite_url).refused(2, f"--bind '{bind}': write an address")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of a full disk")
def test_a_full_disk_is_said_in_a_line(sqlite_engine: sa.Engine, sqlite_url: str) -> None:
    history = History(sqlite_engine)
    history.poll([region(1)])
    history.restart()
    said = collector("timeline", "-o", "/dev/full", database_url=sqlite_url)
    said.explains("/dev/full can't be written: No space left on device")
    assert (said.code, said.out) == (2, "")
