"""Files are created for their owner alone, whatever the umask; modes of files that exist stay."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import answer, body, region
from tests.support.command import collector
from tests.support.loopback import Server, reply


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids="{:03o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_whatever_is_created_is_for_its_owner_alone(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    given_modes = {"made": mode(folder)}
    url = f"sqlite:///{folder / 'collector.db'}"
    with Server(reply(body=body(answer([region(1)])))) as server:
        settings = {"database_url": url, "base_url": server.url, "api_key": "k", "interval": "1s"}
        assert collector("poll", **settings).code == 0
    for command in (
        f"db backup {folder}/backup.db",
        f"db copy --to sqlite:///{folder}/copy.db",
        f"audit pack --from yesterday -o {folder}/pack.zip",
        f"export {folder}/export --format csv",
        f"timeline -o {folder}/picture.svg",
        "db rebuild",
    ):
        assert collector(*command.split(), database_url=url).code == 0, command
    made = [path for path in folder.rglob("*") if not path.is_symlink()]
    assert {"collector.db", "backup.db", "copy.db", "pack.zip", "export", "picture.svg"} <= {
        p.name for p in made
    }
    assert {oct(mode(path)) for path in made if path.is_file()} == {oct(0o600)}
    assert {oct(mode(path)) for path in made if path.is_dir()} == {oct(0o700)}
    assert mode(folder) == given_modes["made"]
    assert os.umask(umask) == umask, "the umask of who called is as it was"


def test_modes_of_files_that_exist_stay(sqlite_template: Path, tmp_path: Path) -> None:
    database, picture = tmp_path / "collector.db", tmp_path / "picture.svg"
    database.write_bytes(sqlite_template.read_bytes())
    database.chmod(0o640)
    picture.write_text("<svg/>")
    picture.chmod(0o644)
    with Server(reply(body=body(answer([region(1)])))) as server:
        settings = {"database_url": f"sqlite:///{database}", "base_url": server.url, "api_key": "k"}
        assert collector("poll", **settings).code == 0
    assert collector("timeline", "-o", str(picture), database_url=f"sqlite:///{database}").code == 0
    assert (mode(database), mode(picture)) == (0o640, 0o644)
