"""Settings: where they come from, which of them wins, and what is said where one is wrong."""

from __future__ import annotations

import os
import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.database.url import parse_url, place
from collector.errors import SettingsError
from collector.settings.loading import PREFIX, VARIABLES, load
from collector.settings.models import Settings, Source
from collector.settings.origins import origins, overlooked
from tests.support.paths import ROOT

SECRET = "canary$0123456789abcdef"


def given(**variables: str) -> Settings:
    return load({PREFIX + name: value for name, value in variables.items()})


def refused(environment: dict[str, str] | None = None, config: Path | None = None) -> str:
    """The one-line message with which settings are refused."""
    with pytest.raises(SettingsError) as raised:
        load(environment or {}, config)
    message = str(raised.value)
    assert "\n" not in message
    assert raised.value.exit_code == 2
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return message


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "collector.toml"


# Where they come from


def test_without_any_setting_there_is_one_source_without_a_key() -> None:
    settings = load({})
    (source,) = settings.sources
    assert settings.database_url.get_secret_value() == "sqlite:///collector.db"
    assert settings.http_bind == "127.0.0.1:8080"
    assert (source.base_url, source.auth_scheme) == ("https://api.gcore.com", "apikey")
    assert source.interval == timedelta(seconds=60)
    assert (source.api_key, source.api_key_file) == (None, None)


def test_everything_of_one_source_comes_from_the_environment(tmp_path: Path) -> None:
    settings = given(
        DATABASE_URL="postgresql://host/name",
        HTTP_BIND="off",
        SOURCE="preprod",
        API_KEY=SECRET,
        AUTH_SCHEME="bearer",
        BASE_URL="https://api.preprod.world/",
        INTERVAL="5m",
        CONFIRMATIONS="7",
    )
    (source,) = settings.sources
    assert settings.database_url.get_secret_value() == "postgresql://host/name"
    assert settings.http_bind == "off"
    assert (source.name, source.key(), source.auth_scheme) == ("preprod", SECRET, "bearer")
    assert source.base_url == "https://api.preprod.world"
    assert (source.interval, source.confirmations) == (timedelta(minutes=5), 7)


def test_the_processes_own_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTOR_INTERVAL", "7s")
    assert load().sources[0].interval == timedelta(seconds=7)


def test_everything_of_one_source_comes_from_a_file(config: Path) -> None:
    config.write_text(
        f"""
        database_url = "sqlite:///x.db"
        name = "from file"
        api_key = "{SECRET}"
        interval = "90s"
        confirmations = 2
        """
    )
    settings = load({}, config)
    (source,) = settings.sources
    assert settings.database_url.get_secret_value() == "sqlite:///x.db"
    assert (source.name, source.key(), source.interval, source.confirmations) == (
        "from file",
        SECRET,
        timedelta(seconds=90),
        2,
    )


def test_the_file_is_named_by_a_variable_and_the_option_wins(config: Path, tmp_path: Path) -> None:
    config.write_text('name = "by variable"')
    other = tmp_path / "other.toml"
    other.write_text('name = "by option"')
    environment = {"COLLECTOR_CONFIG": str(config)}
    assert load(environment).sources[0].name == "by variable"
    assert load(environment, other).sources[0].name == "by option"


def test_the_environment_wins_over_the_file(config: Path) -> None:
    config.write_text('interval = "90s"\nhttp_bind = "off"\napi_key = "of the file"')
    settings = load({"COLLECTOR_INTERVAL": "30s", "COLLECTOR_API_KEY": "of the environment"}, config)
    assert settings.sources[0].interval == timedelta(seconds=30)
    assert settings.sources[0].key() == "of the environment"
    assert settings.http_bind == "off"


def test_a_key_file_of_the_environment_wins_over_a_key_of_the_file(config: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("of the environment")
    config.write_text('api_key = "of the file"')
    settings = load({"COLLECTOR_API_KEY_FILE": str(key_file)}, config)
    assert settings.sources[0].key() == "of the environment"


def test_an_empty_variable_is_as_good_as_none(config: Path) -> None:
    config.write_text('interval = "90s"')
    settings = load({"COLLECTOR_INTERVAL": "", "COLLECTOR_CONFIG": ""}, config)
    assert settings.sources[0].interval == timedelta(seconds=90)
    assert load({"COLLECTOR_CONFIG": "", "COLLECTOR_API_KEY": ""}).sources[0].api_key is None


def test_several_sources_stand_in_tables_of_their_own(config: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key of two")
    config.write_text(
        f"""
        interval = "30s"
        [[sources]]
        name = "one"
        api_key = "key of one"
        [[sources]]
        name = "two"
        base_url = "https://two.example"
        api_key_file = '{tmp_path / "key"}'
        interval = "5m"
        """
    )
    one, two = load({}, config).sources
    assert (one.name, one.base_url, one.key(), one.interval) == (
        "one",
        "https://api.gcore.com",
        "key of one",
        timedelta(seconds=30),
    )
    assert (two.name, two.base_url, two.key(), two.interval) == (
        "two",
        "https://two.example",
        "key of two",
        timedelta(minutes=5),
    )


def test_a_key_of_the_environment_is_for_the_sources_that_have_none(config: Path, tmp_path: Path) -> None:
    """A key must never be sent to the platform of another source that has its own."""
    (tmp_path / "key").write_text("key of two")
    config.write_text(
        f"""
        [[sources]]
        name = "one"
        [[sources]]
        name = "two"
        base_url = "https://two.example"
        api_key_file = '{tmp_path / "key"}'
        """
    )
    one, two = load({"COLLECTOR_API_KEY": SECRET}, config).sources
    assert one.key() == SECRET
    assert two.key() == "key of two"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60),
        ("60s", 60),
        ("1.5s", 1.5),
        ("1500ms", 1.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("1h30m10s", 5410),
        ("1d", 86400),
        (" 5M ", 300),
    ],
)
def test_durations_are_written_as_people_write_them(text: str, seconds: float) -> None:
    assert given(INTERVAL=text).sources[0].interval == timedelta(seconds=seconds)


def test_a_duration_in_a_file_may_be_a_number(config: Path) -> None:
    config.write_text("interval = 90")
    assert load({}, config).sources[0].interval == timedelta(seconds=90)
    config.write_text("interval = 1.5")
    assert load({}, config).sources[0].interval == timedelta(seconds=1.5)


def test_all_attempts_of_a_poll_end_before_the_next_one_is_due() -> None:
    for text in ("1s", "10s", "60s", "1d"):
        source = given(INTERVAL=text).sources[0]
        assert timedelta(0) < source.deadline < source.interval
        assert source.deadline < timedelta(seconds=60), "shorter than the lease"


# What is said where one is wrong


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("INTERVAL", "soon", "60s, 5m, 1h30m or 400d"),
        ("INTERVAL", "5 minutes", "60s, 5m, 1h30m or 400d"),
        ("INTERVAL", "-5s", "60s, 5m, 1h30m or 400d"),
        ("INTERVAL", "m5", "60s, 5m, 1h30m or 400d"),
        ("INTERVAL", "0.5s", "1 second"),
        ("INTERVAL", "2d", "1 day"),
        ("INTERVAL", "9" * 30, ""),
        ("INTERVAL", "1" * 400 + "d", ""),
        ("CONFIRMATIONS", "0", "1"),
        ("INTERVAL", "0", "must be at least 1 second; a number without a unit means seconds"),
        ("KEEP", "400", "must be at least 1 day; a number without a unit means seconds"),
        ("KEEP", "forever", "write a duration like 60s, 5m, 1h30m or 400d, or off"),
        ("VERIFY_EVERY", "1s", "must be at least 1 minute"),
        ("CONFIRMATIONS", "many", "write a whole number"),
        ("CONFIRMATIONS", "1001", "must be at most 1000"),
        ("MAX_BODY", "32M", "write a whole number"),
        ("MAX_MISSING_SHARE", "half", "write a number like 0.1"),
        ("HTTP_UNPROTECTED", "perhaps", "write yes or no"),
        ("LOG_LEVEL", "verbose", "must be 'debug', 'info', 'warning' or 'error'"),
        ("SOURCE", "a/b", "write letters, digits"),
        ("AUTH_SCHEME", "api key", "write one word"),
        ("AUTH_SCHEME", "apikey\r\nX", "write one word"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_the_value_and_what_would_do(
    variable: str, value: str, why: str
) -> None:
    message = refused({PREFIX + variable: value})
    assert PREFIX + variable in message
    assert repr(value)[:90] in message or variable == "AUTH_SCHEME"  # people write the key behind the word
    assert why in message
    assert "put should" not in message, "pydantic's own words"


@pytest.mark.parametrize("text", ["interval = nan", "interval = inf", "interval = true", "interval = [1]"])
def test_a_wrong_duration_in_a_file_is_refused(config: Path, text: str) -> None:
    config.write_text(text)
    message = refused(config=config)
    assert "interval" in message
    assert str(config) in message


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("api.gcore.com", "https://api.gcore.com"),
        ("ftp://api.gcore.com", "https://api.gcore.com"),
        ("https://", "https://api.gcore.com"),
        ("https://?x", "https://api.gcore.com"),
        ("https:api.gcore.com", "https://api.gcore.com"),
        ("https://user:canary-password@api.gcore.com", "user name or password"),
        ("https://canary-password@api.gcore.com", "user name or password"),
        ("https://api.gcore.com?key=canary-password", "no ?"),
        ("https://api.gcore.com#canary-password", "no ?"),
        ("https://api.gcore.com:port", "port"),
        ("https://api.gcore.com:70000", "port"),
        ("https://[::1", ""),
        ("https://api.gcore.com/cloud/v1/ai/regions/", "leave out /cloud/v1/ai/regions"),
    ],
)
def test_a_base_url_that_cant_be_asked_is_refused_without_being_shown(url: str, why: str) -> None:
    message = refused({"COLLECTOR_BASE_URL": url})
    assert "COLLECTOR_BASE_URL" in message
    assert why in message
    assert "canary" not in message


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.gcore.com", "https://api.gcore.com"),
        ("https://api.gcore.com/", "https://api.gcore.com"),
        (" https://proxy.example:8443/gcore/ ", "https://proxy.example:8443/gcore"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_is_kept_without_the_slash_at_its_end(url: str, kept: str) -> None:
    assert given(BASE_URL=url).sources[0].base_url == kept


def test_an_unknown_variable_is_named_and_so_are_those_that_are_known() -> None:
    message = refused({"COLLECTOR_INTERVALL": "60s"})
    assert "COLLECTOR_INTERVALL" in message
    assert all(name in message for name in VARIABLES)
    assert SECRET not in refused({"COLLECTOR_APIKEY": SECRET})


def test_variables_of_other_programs_are_none_of_our_business() -> None:
    load({"PATH": "/bin", "OTEL_COLLECTOR_HOST": "x", "collector_interval": "soon"})


def test_a_typing_error_in_the_prefix_is_found() -> None:
    names = (
        "COLECTOR_INTERVAL",
        "collector_keep",
        "COLLECTORS_SOURCE",
        "COLLECTOR_INTERVAL",
        "OTEL_COLLECTOR_HOST",
    )
    assert overlooked(dict.fromkeys(names, "x")) == {
        "COLECTOR_INTERVAL": "COLLECTOR_INTERVAL",
        "COLLECTORS_SOURCE": "COLLECTOR_SOURCE",
        "collector_keep": "COLLECTOR_KEEP",
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("intervall = 60", "there is no setting 'intervall'; did you mean interval?"),
        ('COLLECTOR_INTERVAL = "60s"', "did you mean interval?"),
        ("[[source]]", "did you mean source"),
        ('[[anchors]]\nto = "file:/x"', "did you mean anchor?"),
        ('[section]\ninterval = "60s"', "there is no setting 'section'; known are "),
        ('[[sources]]\nname = "a"\napikey = "x"', "there is no setting 'apikey'; did you mean api_key?"),
        (
            '[[sources]]\nname = "a"\nhttp_bind = "off"',
            "'http_bind' in [[sources]]: write it above the tables",
        ),
        ('[[webhooks]]\nsource = ["a"]', "did you mean sources?"),
        ('[[anchor]]\nfile = "/x"', "to in "),
        ("api_key = 1234", "write a text, in quotes"),
        ("http_hosts = 5", "write a list"),
        ("confirmations = 2.5", "write a whole number"),
        ('sources = "one"', "[[sources]]"),
        ("sources = [1]", "[[sources]]"),
        ("[sources.one]\napi_key = 'x'", "[[sources]]"),
        ("sources = []", "sources is empty: write a table"),
        ('[[sources]]\nname = "a"\n[[sources]]\nname = "a"', "name of its own"),
        ("[[sources]]\n[[sources]]", "name of its own"),
        ('[[sources]]\nname = ""', "name"),
        ("http_bind = 8080", "http_bind"),
        ("this is not TOML", "not TOML"),
        ('name = "a"\nname = "b"', "not TOML"),
    ],
)
def test_a_mistake_in_a_file_is_reported_with_its_place(config: Path, text: str, named: str) -> None:
    config.write_text(text)
    message = refused(config=config)
    assert named in message
    assert str(config) in message


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    assert "none.toml" in refused(config=tmp_path / "none.toml")
    assert "none.toml" in refused({"COLLECTOR_CONFIG": str(tmp_path / "none.toml")})
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "\xff"')
    assert "latin.toml" in refused(config=latin)
    assert str(tmp_path) in refused(config=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f'api_key = ["{SECRET}"]',
        f'api_key = {{ key = "{SECRET}" }}',
        f'database_url = ["postgresql://u:{SECRET}@h/d"]',
        f'base_url = "https://u:{SECRET}@h"',
        f'[[sources]]\napi_key = ["{SECRET}"]',
        f'[[sources]]\nbase_url = "https://u:{SECRET}@h"',
        f'api_key = "{SECRET}',
        f"api_key = {SECRET}",
        f'api_key = "{SECRET}"\napi_key = "{SECRET}"',
        f'apikey = "{SECRET}"',
        f'sources = ["{SECRET}"]',
        f'[[sources]]\nsecret_key = "{SECRET}"',
    ],
)
def test_no_refusal_shows_a_secret(config: Path, text: str) -> None:
    config.write_text(text)
    assert SECRET not in refused(config=config)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("interval = " + "[" * 5000, "nested too deeply"),
        ("interval = " + "{x = " * 3000, "nested too deeply"),
        ("confirmations = " + "1" * 5000, "is not TOML"),
        (f'api_key_file = "{SECRET}\\u0000"', "api_key_file is not the name of a file"),
        ('[[webhooks]]\nname = "a"\nentities = ""', "receiver a: entities"),
        ('[[webhooks]]\nname = "a"\nkinds = "x"', "receiver a: kinds"),
        (f'interval = "{"x" * 10_000}"', "write a duration"),
    ],
)
def test_a_file_that_no_person_wrote_is_refused_in_a_line(config: Path, text: str, named: str) -> None:
    config.write_text(text)
    message = refused(config=config)
    assert named in message
    assert SECRET not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    "name", ["SOURCE", "INTERVAL", "CONFIRMATIONS", "PAGE_SIZES", "HTTP_BIND", "LOG_LEVEL"]
)
@pytest.mark.parametrize("key", [SECRET, "4711$canary7", "canary0123456789abcdef0123"])
def test_a_key_that_was_put_into_another_setting_is_not_shown(name: str, key: str) -> None:
    with pytest.raises(SettingsError, match=f"COLLECTOR_{name}") as raised:
        load({f"COLLECTOR_{name}": f"{key} " if name == "SOURCE" else key})
    assert "canary" not in str(raised.value)


def test_a_key_file_without_end_or_without_a_writer_is_a_failed_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One such file stopped the polls of all sources, and one without end took all memory."""
    monkeypatch.setattr("collector.spelling._LONGEST_WAIT", 0.3)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    files = {"nothing came": pipe, "longer than 1 MiB": Path("/dev/zero"), "is a directory": tmp_path}
    for why, file in files.items():
        with pytest.raises(SettingsError, match=f"(?i){why}"):
            Source(api_key_file=file).key()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    with pytest.raises(SettingsError, match=r"nothing came within 0\.3 s"):
        Source(api_key_file=pipe).key()
    with pytest.raises(SettingsError, match="nothing came"):
        load(config=pipe)
    later = threading.Timer(0.1, lambda: (os.write(writer, b"1234$abcdefgh\n"), os.close(writer)))
    later.start()
    assert Source(api_key_file=pipe).key() == "1234$abcdefgh", "as from `<(pass show gcore)`"
    later.join()
    os.close(reader)


def test_a_key_in_place_of_the_name_of_its_file_is_not_shown(config: Path) -> None:
    config.write_text('api_key_file = "1234$canary"')
    with pytest.raises(SettingsError, match="is it the key itself") as raised:
        load({}, config).sources[0].key()
    assert "canary" not in str(raised.value)


# Keys


def test_a_key_file_is_read_again_each_time(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("one\n")
    (source,) = given(API_KEY_FILE=str(key_file)).sources
    assert source.key() == "one"
    key_file.write_text("  two\r\n")
    assert source.key() == "two"


def _key_error(source: Source) -> str:
    with pytest.raises(SettingsError) as raised:
        source.key()
    assert SECRET not in str(raised.value)
    return str(raised.value)


def test_a_missing_key_is_reported_with_both_ways_to_give_one() -> None:
    message = _key_error(Source())
    assert "COLLECTOR_API_KEY" in message
    assert "COLLECTOR_API_KEY_FILE" in message


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (None, "can't be read: No such file"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        ("clé".encode() + SECRET.encode(), "can't be sent"),
        (b"\xff\xfe" + SECRET.encode(), "not text"),
        (SECRET.encode() + b"\n" + SECRET.encode(), "can't be sent"),
        (SECRET.encode() + b"\0", "can't be sent"),
    ],
)
def test_a_key_file_without_a_usable_key_is_named(tmp_path: Path, contents: bytes | None, why: str) -> None:
    key_file = tmp_path / "key"
    if contents is not None:
        key_file.write_bytes(contents)
    message = _key_error(Source(api_key_file=key_file))
    assert str(key_file) in message
    assert why in message


def test_a_key_file_that_is_a_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path) in _key_error(Source(api_key_file=tmp_path))


def test_a_key_that_cant_be_sent_is_refused_by_the_name_of_its_variable() -> None:
    assert "COLLECTOR_API_KEY" in _key_error(given(API_KEY="clé").sources[0])
    assert "COLLECTOR_API_KEY" in _key_error(given(API_KEY=f"{SECRET}\n{SECRET}").sources[0])


@pytest.mark.parametrize(
    "given_as",
    [
        f'"{SECRET}"',
        f"'{SECRET}'",
        f"“{SECRET}”",
        f" ' {SECRET} ' ",
        f"apikey {SECRET}",
        f"apikey\t{SECRET}",
        f"X-API-Key: {SECRET}",
        f"APIKey  {SECRET}",
        f"Authorization: apikey {SECRET}",
        f'"apikey {SECRET}"',
        f'apikey "{SECRET}"',
        f"COLLECTOR_API_KEY={SECRET}",
        f"export COLLECTOR_API_KEY='{SECRET}'",
        f"{SECRET}\r",
        f"\ufeff{SECRET}",
        f"\u200b{SECRET}\u00a0",
    ],
)
def test_what_people_write_around_a_key_is_no_part_of_it(tmp_path: Path, given_as: str) -> None:
    assert given(API_KEY=given_as).sources[0].key() == SECRET
    key_file = tmp_path / "key"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        key_file.write_bytes(f"{given_as}\r\n".encode(encoding))
        assert given(API_KEY_FILE=str(key_file)).sources[0].key() == SECRET


@pytest.mark.parametrize("key", ['a"b', "'", "apikey", "apikey-1", "bearer$x", "a'", "Token"])
def test_what_only_looks_like_it_is_a_part_of_the_key(key: str) -> None:
    assert given(API_KEY=key).sources[0].key() == key


def test_the_scheme_word_of_another_scheme_is_named_with_its_setting() -> None:
    message = _key_error(given(API_KEY=f"Bearer {SECRET}").sources[0])
    assert "COLLECTOR_AUTH_SCHEME" in message
    assert "Bearer" in message
    assert given(API_KEY=f"Bearer {SECRET}", AUTH_SCHEME="bearer").sources[0].key() == SECRET


def test_a_key_beside_a_key_file_is_refused(config: Path, tmp_path: Path) -> None:
    both = {"COLLECTOR_API_KEY": SECRET, "COLLECTOR_API_KEY_FILE": str(tmp_path / "key")}
    for message in (
        refused(both),
        refused(config=_wrote(config, f'api_key = "{SECRET}"\napi_key_file = "key"')),
        refused(config=_wrote(config, f'[[sources]]\napi_key = "{SECRET}"\napi_key_file = "key"')),
    ):
        assert "both set" in message
        assert "remove one" in message
        assert SECRET not in message
    assert load(both | {"COLLECTOR_API_KEY": ""}).sources[0].api_key is None


def _wrote(config: Path, text: str) -> Path:
    config.write_text(text)
    return config


def test_a_key_file_named_in_a_settings_file_is_found_beside_it(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "key").write_text(SECRET)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in ("key", "./key", "elsewhere/../key", "~/key", str(tmp_path / "key")):
        for text in ('api_key_file = "{}"', '[[sources]]\napi_key_file = "{}"'):
            assert load({}, _wrote(config, text.format(named))).sources[0].key() == SECRET
    assert given(API_KEY_FILE="~/key").sources[0].key() == SECRET
    assert given(API_KEY_FILE="../key").sources[0].key() == SECRET  # as every tool does


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_settings_file_may_come_from_any_editor(config: Path, encoding: str, newline: str) -> None:
    config.write_bytes(newline.join(['name = "Zürich"', 'interval = "90s"', ""]).encode(encoding))
    (source,) = load({}, config).sources
    assert (source.name, source.interval) == ("Zürich", timedelta(seconds=90))


def test_a_variable_may_come_from_an_env_file_whose_quotes_and_line_ends_were_kept(tmp_path: Path) -> None:
    settings = given(
        INTERVAL='"90s"\r', DATABASE_URL="'sqlite:///x.db'", SOURCE='"one"', BASE_URL="https://api.example\r"
    )
    (source,) = settings.sources
    assert (source.name, source.base_url, source.interval) == (
        "one",
        "https://api.example",
        timedelta(seconds=90),
    )
    assert settings.database_url.get_secret_value() == "sqlite:///x.db"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "tcp://10.0.0.1:8080"),
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "8080"),
        ("SERVICE_PORT_HTTP", "8080"),
        ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("PORT_8080_TCP_PROTO", "tcp"),
        ("PORT_8080_TCP_PORT", "8080"),
        ("PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("PORT_53_UDP", "udp://10.0.0.1:53"),
        ("DB_PORT", "tcp://10.0.0.2:5432"),
        ("WEB_SERVICE_HOST", "fd00::1"),
        ("METRICS_PORT_9090_SCTP_ADDR", "fd00::1"),
    ],
)
def test_what_a_cluster_says_of_a_service_with_our_name_is_no_setting(name: str, value: str) -> None:
    assert given(**{name: value}) == given()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("INTERVALL", "COLLECTOR_INTERVAL"),
        ("APIKEY", "COLLECTOR_API_KEY"),
        ("DATABASE_URI", "COLLECTOR_DATABASE_URL"),
        ("PORT", "known are"),
        ("SERVICE", "known are"),
    ],
)
def test_a_variable_that_nobody_reads_is_refused_with_what_was_meant(name: str, meant: str) -> None:
    message = refused({PREFIX + name: SECRET})
    assert PREFIX + name in message
    assert meant in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite://collector.db", "sqlite:///collector.db"),
        ("sqlite://data/collector.db", "sqlite:///collector.db"),
        ("sqlite://var:1/collector.db", "sqlite:///collector.db"),
        ("collector.db", "sqlite:///path/to/file.db"),
        (f"postgresql://user:p@{SECRET}@host/name", "%40"),
        (f"postgresql://user:p@{SECRET}/x@host/name", "%40"),
        (f"postgresql://user:p@{SECRET}?x@host/name", "%40"),
        (f"postgresql://svc@{SECRET}:p@host/name", "%40"),
        (f"postgresql://host:5432/name?password=p@{SECRET}", "%40"),
        ("sqlite:///collector%00.db", "%00"),
        (f"postgresql://user:{SECRET}%00@host/name", "%00"),
    ],
)
def test_a_database_url_that_would_be_read_otherwise_than_it_was_meant_is_refused(url: str, why: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_url(url)
    assert why in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///name?host=/run&user=svc@proj.iam",
        "postgresql://svc%40proj.iam@host/name",
        " postgresql://h/d\n",
        "POSTGRESQL://h/d",
        "SQLite:///d",
    ],
)
def test_a_database_url_that_can_be_read_in_one_way_is_taken(url: str) -> None:
    assert parse_url(url).database in ("name", "d")


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://u:p@one:5432,two:5433/name?connect_timeout=1", "name at one:5432, two:5433"),
        ("postgresql://one,two/name", "name at one, two"),
        ("postgresql:///name?host=one&host=two", "name at one, two"),
        ("postgresql:///?service=canary", "at the service canary"),
        ("postgresql://u@%2Frun%2Fpostgresql:5433/name", "name at /run/postgresql"),
        ("postgresql:///name", "name at the local socket"),
    ],
)
def test_a_database_is_named_by_all_places_where_it_may_be(
    url: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    assert place(parse_url(url)) == where


# Secrets


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://host/name?password=p@{SECRET}",
        f"postgresql:///name?user=u&password=p@{SECRET}",
        f"postgresql://user:{SECRET}",
        f"postgresql://user:{SECRET}/name",
        f"postgresql://user:p@{SECRET}?x@host/name",
    ],
)
def test_no_half_of_a_password_is_shown_as_a_host(url: str) -> None:
    assert SECRET not in str(origins({"COLLECTOR_DATABASE_URL": url}))


def test_no_repr_or_text_shows_a_key_or_the_password_of_the_database(config: Path) -> None:
    password = "canary-password"
    single = given(API_KEY=SECRET, DATABASE_URL=f"postgresql://user:{password}@host/name")
    config.write_text(f'[[sources]]\nname = "a"\napi_key = "{SECRET}"')
    for settings in (single, load({}, config)):
        source = settings.sources[0]
        shown: list[Any] = [settings, source, settings.sources, settings.database_url, source.api_key]
        shown += [settings.model_dump(), source.model_dump(), settings.model_dump_json()]
        for value in shown:
            for text in (repr(value), str(value), f"{value!r:>10}"):
                assert SECRET not in text
                assert password not in text


def test_settings_are_read_in_one_module_only() -> None:
    package = ROOT / "collector"
    reads = re.compile(r"tomllib|(environ|getenv).*COLLECTOR_")
    readers = [str(p.relative_to(package)) for p in package.rglob("*.py") if reads.search(p.read_text())]
    assert readers == ["settings/loading.py"]


@pytest.mark.parametrize("name", ["gcore ", " gcore", "a  b", "a\tb", "a\n", " "])
def test_a_name_with_blanks_that_nobody_sees_is_refused(name: str) -> None:
    """It would begin a second history beside the first."""
    with pytest.raises(SettingsError, match="COLLECTOR_SOURCE"):
        load({"COLLECTOR_SOURCE": name})


def test_names_that_differ_only_by_case_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[[sources]]\nname = "gcore"\n[[sources]]\nname = "Gcore"\n')
    with pytest.raises(SettingsError, match="name of its own"):
        load({}, file)


def test_a_key_file_that_is_missing_is_named_where_its_folder_is_there(tmp_path: Path) -> None:
    missing = tmp_path / "key"
    with pytest.raises(SettingsError) as raised:
        Source(api_key_file=missing).key()
    assert str(missing) in str(raised.value)
    with pytest.raises(SettingsError, match="is it the key itself"):
        Source(api_key_file=Path("1234$abcdef")).key()


@pytest.mark.parametrize("said", ["INFO", "Info", " info "])
def test_the_level_and_the_form_of_the_log_are_words_in_any_case(said: str) -> None:
    assert given(LOG_LEVEL=said).log_level == "info"
    assert given(LOG_FORMAT=said.upper().replace("INFO", "JSON")).log_format == "json"


@pytest.mark.parametrize(("said", "share"), [("10%", 0.1), (" 2.5 % ", 0.025), ("0%", 0.0), ("0.3", 0.3)])
def test_a_share_may_be_a_percentage(said: str, share: float) -> None:
    assert given(MAX_MISSING_SHARE=said).sources[0].max_missing_share == share


@pytest.mark.parametrize("said", ["101%", "-1%", "10 %%", "nan", "inf"])
def test_a_share_is_none_beyond_all(said: str) -> None:
    assert "MAX_MISSING_SHARE" in refused({"COLLECTOR_MAX_MISSING_SHARE": said})
