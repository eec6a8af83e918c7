"""Settings: where they come from, which of them wins, and what is said where one is wrong."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.errors import SettingsError
from collector.settings import PREFIX, VARIABLES, Settings, Source, load

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
        ("INTERVAL", "soon", "60s, 5m or 1h30m"),
        ("INTERVAL", "5 minutes", "60s, 5m or 1h30m"),
        ("INTERVAL", "-5s", "60s, 5m or 1h30m"),
        ("INTERVAL", "m5", "60s, 5m or 1h30m"),
        ("INTERVAL", "0.5s", "1 second"),
        ("INTERVAL", "2d", "1 day"),
        ("INTERVAL", "9" * 30, ""),
        ("INTERVAL", "1" * 400 + "d", ""),
        ("CONFIRMATIONS", "0", "1"),
        ("CONFIRMATIONS", "many", "integer"),
        ("SOURCE", "a/b", "pattern"),
        ("AUTH_SCHEME", "api key", "pattern"),
        ("AUTH_SCHEME", "apikey\r\nX", "pattern"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_the_value_and_what_would_do(
    variable: str, value: str, why: str
) -> None:
    message = refused({PREFIX + variable: value})
    assert PREFIX + variable in message
    assert repr(value) in message or variable == "AUTH_SCHEME"  # people write the key behind the word
    assert why in message


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


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("intervall = 60", "intervall"),
        ('[[sources]]\nname = "a"\napikey = "x"', "apikey"),
        ('sources = "one"', "[[sources]]"),
        ("sources = [1]", "[[sources]]"),
        ("[sources.one]\napi_key = 'x'", "[[sources]]"),
        ("sources = []", "name of its own"),
        ('[[sources]]\nname = "a"\n[[sources]]\nname = "a"', "name of its own"),
        ("[[sources]]\n[[sources]]", "name of its own"),
        ('[[sources]]\nname = ""', "name"),
        ("http_bind = 8080", "http_bind"),
        ("this is not TOML", "not TOML"),
        ('name = "a"\nname = "b"', "not TOML"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_place(config: Path, text: str, named: str) -> None:
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


def test_a_missing_key_is_told_with_both_ways_to_give_one() -> None:
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
        ("\ufeff".encode() + SECRET.encode(), "can't be sent"),
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


# Secrets


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
    package = Path(__file__).parent.parent / "collector"
    reads = re.compile(r"tomllib|(environ|getenv).*COLLECTOR_")
    readers = [str(p.relative_to(package)) for p in package.rglob("*.py") if reads.search(p.read_text())]
    assert readers == ["settings.py"]


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
