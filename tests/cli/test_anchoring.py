"""Anchors in the settings, and what `collector poll` does with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.errors import SettingsError
from collector.settings.loading import load
from collector.settings.origins import origins
from tests.support.builders import answer, body, region
from tests.support.command import collector
from tests.support.loopback import Server, reply


def test_several_places_stand_with_blanks_between_them() -> None:
    found = load(
        {
            "COLLECTOR_ANCHOR": "file:/mnt/a file:///mnt/b https://hooks.example/x?s=canary syslog: tsa+https://t.example/tsr",
            "COLLECTOR_ANCHOR_MODE": "Required",
            "COLLECTOR_ANCHOR_CA_FILE": "/etc/ca.pem",
        }
    ).anchors
    assert [(a.name, a.kind) for a in found] == [
        ("file", "file"),
        ("file-2", "file"),
        ("webhook", "webhook"),
        ("syslog", "syslog"),
        ("tsa", "tsa"),
    ]
    assert [a.place for a in found] == [
        "/mnt/a",
        "/mnt/b",
        "https://hooks.example/x?s=canary",
        "",
        "https://t.example/tsr",
    ]
    assert {a.mode for a in found} == {"required"}
    assert [a.ca_file for a in found] == [None, None, None, None, Path("/etc/ca.pem")]
    assert "canary" not in repr(found)


def test_a_settings_file_gives_each_a_mode_of_its_own(tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(
        'anchor_mode = "best-effort"\n'
        '[[anchor]]\nto = "file:/mnt/a"\nmode = "off"\n'
        '[[anchor]]\nname = "notary"\nto = "tsa+https://t.example"\nmode = "required"\nca_file = "/etc/one.pem"\n'
        '[[anchor]]\nto = "syslog://logs.example:514"\n'
    )
    found = load({}, config).anchors
    assert [(a.name, a.mode) for a in found] == [("notary", "required"), ("syslog", "best-effort")]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("ftp://canary@x", "an anchor is a file"),
        ("file:relative", "write the absolute path of a file"),
        ("https://", "write a URL like"),
        ("syslog://canary", "host and port"),
        ("canary", "an anchor is a file"),
    ],
)
def test_what_is_no_place_is_refused_without_being_shown(given: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as error:
        load({"COLLECTOR_ANCHOR": given})
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        '[[anchor]]\nname = "a"\nto = "file:/x"\n[[anchor]]\nname = "a"\nto = "file:/y"\n',
        '[[anchor]]\nto = "file:/x"\nca_file = "/etc/ca.pem"\n',
        '[[anchor]]\nto = "tsa+https://t.example"\nca_file = "ca.pem"\n',
        '[[anchor]]\nto = "file:/x"\nmode = "sometimes"\n',
        'anchor_every = "2d"\n',
    ],
)
def test_settings_of_anchors_that_contradict_are_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(text)
    with pytest.raises(SettingsError, match=r"anchor|mode|ca_file"):
        load({}, config)


def test_the_origin_of_an_anchor_is_shown_without_its_place() -> None:
    shown = {
        each.variable: each for each in origins({"COLLECTOR_ANCHOR": "https://hooks.example/canary file:/x"})
    }
    assert shown["COLLECTOR_ANCHOR"].value == "webhook (webhook), file (file)"
    assert shown["COLLECTOR_VERIFY_EVERY"].value == "off"


def test_a_poll_anchors_what_is_due_and_a_place_that_is_away_does_not_spoil_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    said = [reply(body=body(answer([region(1, state)]))) for state in ("NEW", "ACTIVE")]
    with Server(*said) as server:
        settings = {
            "database_url": sqlite_url,
            "base_url": server.url,
            "api_key": "k",
            "interval": "1s",
            "anchor": f"file:{tmp_path}/missing/heads file:{tmp_path}/heads",
            "anchor_pause": "0s",
        }
        first = collector("poll", **settings)
        second = collector("poll", "--quiet", **(settings | {"anchor_mode": "required"}))
    assert (first.code, second.code) == (0, 3)
    assert first.err == "gcore: not anchored at file: No such file or directory\n" == second.err
    assert "gcore: anchor 2 at file-2, observation 1, value " in first.out
    lines = [json.loads(line) for line in (tmp_path / "heads").read_text().splitlines()]
    assert [(line["number"], line["seq"]) for line in lines] == [(2, 1), (4, 2)]
    checked = collector("audit", "verify", **settings)
    assert checked.code == 0, checked.out


def test_a_source_without_a_required_anchor_needs_a_look(sqlite_url: str, tmp_path: Path) -> None:
    with Server(reply(body=body(answer([region(1)])))) as server:
        collector("poll", database_url=sqlite_url, base_url=server.url, api_key="k")
    settings = {"database_url": sqlite_url, "anchor": f"file:{tmp_path}/away/heads"}
    assert collector("status", **settings).code == 0, "it is not required"
    settings["anchor_mode"] = "required"
    never = collector("status", "--format", "json", **settings)
    collector("audit", "anchor", **settings)
    failing = collector("status", "--format", "json", **settings)
    (tmp_path / "away").mkdir()
    collector("audit", "anchor", **settings)
    assert (never.code, never.json[0]["why"]) == (3, "the required anchor file has no digest of it yet")
    why = "the required anchor file did not accept its newest digest: No such file or directory"
    assert (failing.code, failing.json[0]["why"]) == (3, why)
    assert collector("status", **settings).code == 0


def test_a_poll_without_anchors_leaves_none(sqlite_url: str) -> None:
    with Server(reply(body=body(answer([region(1)])))) as server:
        said = collector("poll", database_url=sqlite_url, base_url=server.url, api_key="k")
    assert said.code == 0
    assert "anchor" not in said.out
