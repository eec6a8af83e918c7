"""Secrets go before anything is stored, hashed or printed; everything else stays as it came."""

from __future__ import annotations

import base64
import copy
import html
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collector.gcore.document import Document, document_of
from collector.gcore.evidence import read
from collector.gcore.exchange import Answer, Exchange, Failure
from collector.gcore.listing import listing_of
from collector.gcore.reader import Reader
from collector.gcore.redaction import (
    MARKER,
    contains_part,
    is_secret_name,
    redact,
    scrub_message,
    scrub_parts,
    scrub_text,
)
from collector.gcore.secret_keys import keys_of
from collector.gcore.wire import documented_names
from tests.support.builders import answer, body, keystone, region

KEY = "7351$qzWxvKpR8mTn"
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def parts(secret: str, size: int) -> set[str]:
    size = min(size, len(secret))
    return {secret[i : i + size] for i in range(len(secret) - size + 1)}


# By name

SECRET_NAMES = [
    "password",
    "Password",
    "PASSWORD",
    "passwd",
    "passphrase",
    "pass",
    "db_pass",
    "pwd",
    "admin_password",
    "adminPassword",
    "admin-password",
    "password2",
    "old_password_hash",
    "secret",
    "client_secret",
    "clientSecret",
    "SECRETS",
    "token",
    "X-Auth-Token",
    "access_token",
    "refreshToken",
    "key",
    "apiKey",
    "api_key",
    "API-KEY",
    "api key",
    "accessKey",
    "private_key",
    "ssh_keys",
    "KEYFILE",
    "credential",
    "credentials",
    "userCredentials",
    "dsn",
    "db-dsn",
    "sentryDSN",
    "cookie",
    "Set-Cookie",
    "Authorization",
    "proxy-authorization",
    "bearer",
    "jwt",
    "signature",
    "X-Amz-Signature",
    "connection_string",
    "connectionString",
    "connection-str",
    "private_pem",
    "otpSeed",
    "keystone_password",
    "keystone_key",
    "keystoneToken",
    "keystone_api_key",
    "keystone.secret",
    "authorisation",
    "auth",
    "X-Auth",
    "admin_pw",
    "adminPW",
    "sessionId",
    "wifi_psk",
    "webhook_url",
    "slackWebhookUrl",
    "databaseUrl",
    "DB-URI",
    "redis_urls",
    "snmp_community",
    "wallet.seed",
    *(
        "contraseña",
        "contrasen\u0303a",
        "senha",
        "hasło",
        "Пароль",
        "密码",
        "パスワード",
        "id_rsa",
        "jdbcUrl",
    ),
    *("deviceCode", "SAMLResponse", "reset_link"),
    "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
]
SECRET_NAMES += [
    *(
        "basicAuth",
        "auth_header",
        "authHeader",
        "APIKey",
        "x-api-key",
        "X_API_Key2",
        "wifiPsk",
        "wifipsk",
        "sig",
        "hmacSHA256",
    ),
    *(
        "pat",
        "otp",
        "pin",
        "session",
        "JSESSIONID",
        "connect.sid",
        "private",
        "sasToken",
        "aPiKeY",
        "tOkEn",
        "pass_word",
    ),
    *(
        "AWSSecretAccessKey",
        "HTTPBasicAuth",
        "monkeyPassword",
        "pass\u200bword",
        "user.pass",
        "clientSECRET",
        "p-a-s-s-w-o-r-d",
    ),
]
PLAIN_NAMES = [
    *("haslop", "senhas_count", "device_code_count", "reset", "magic_number"),
    *(
        "monkey",
        "Turkey",
        "turkeyFarm",
        "keyboard",
        "keyword",
        "tokenizer",
        "compass",
        "bypass",
        "passenger",
        "secretary",
    ),
    *(
        "spin",
        "path",
        "pattern",
        "signal",
        "design",
        "map_assets",
        "private_network",
        "isPrivate",
        "authUrl",
    ),
    *("auth_type", "authority", "passed", "sessions_count", "access_level", "tags"),
    *("database", "database_url_count", "seed_nodes", "seeds", "community_name", "webhook_enabled", "hurl"),
    "",
    "id",
    "name",
    "state",
    "slug",
    "username",
    "user",
    "url",
    "host",
    "port",
    "keystone",
    "Keystone",
    "keystone_id",
    "keystoneId",
    "KEYSTONE-ID",
    "keystone_name",
    "keystone_federated_domain_id",
    "metrics_database",
    "external_network_id",
    "created_on",
    "country",
    "region",
    "results",
    "count",
    "has_ai",
    "has_auth",
    "author",
    "é",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize(
    "value", ["canary", "", 0, 1, True, False, [], ["canary"], {}, {"deep": {"er": "canary"}}], ids=str
)
def test_the_value_of_a_secret_name_goes_whatever_it_is(name: str, value: Any) -> None:
    assert redact({name: value}) == {name: MARKER}
    assert redact([{"a": [{name: value}]}]) == [{"a": [{name: MARKER}]}]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_null_is_kept_apart_since_no_password_is_a_fact(name: str) -> None:
    assert redact({name: None}) == {name: None}


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_the_value_of_any_other_name_stays(name: str) -> None:
    assert not is_secret_name(name)
    for value in ("text", "", 0, True, None, [1, "a"], {"b": {"c": None}}):
        assert redact({name: value}) == {name: value}


def test_what_nests_under_a_secret_name_goes_as_a_whole_and_its_neighbours_stay() -> None:
    given_value = {
        "a": 1,
        "credentials": {"user": "canary", "list": [{"x": "canary"}]},
        "deep": [{"token": ["canary"], "b": "x"}, [[{"pwd": "canary", "c": None}]]],
    }
    assert redact(given_value) == {
        "a": 1,
        "credentials": MARKER,
        "deep": [{"token": MARKER, "b": "x"}, [[{"pwd": MARKER, "c": None}]]],
    }


def test_redacting_leaves_what_it_was_given_alone() -> None:
    given_value = {"password": "x", "a": [{"url": "https://u:p@h/"}]}
    before = copy.deepcopy(given_value)
    redact(given_value, (KEY,))
    assert given_value == before


# Names × spellings × containers

WORDS = [
    *(
        ("pass", "word"),
        ("pass", "phrase"),
        ("pwd",),
        ("client", "secret"),
        ("access", "token"),
        ("x", "api", "key"),
    ),
    *(
        ("ssh", "private", "key"),
        ("basic", "auth"),
        ("auth", "header"),
        ("wifi", "psk"),
        ("proxy", "authorization"),
    ),
    *(
        ("session", "id"),
        ("set", "cookie"),
        ("sig",),
        ("hmac",),
        ("pat",),
        ("otp",),
        ("pin",),
        ("db", "dsn"),
        ("jwt",),
    ),
    *(("connection", "string"), ("admin", "pw"), ("shared", "access", "signature"), ("user", "credentials")),
]
SPELLINGS: dict[str, Callable[[Sequence[str]], str]] = {
    "joined": "".join,
    "snake": "_".join,
    "kebab": "-".join,
    "dots": ".".join,
    "blanks": " ".join,
    "camel": lambda w: w[0] + "".join(x.title() for x in w[1:]),
    "Pascal": lambda w: "".join(x.title() for x in w),
    "SCREAMING": lambda w: "_".join(w).upper(),
    "Header": lambda w: "-".join(x.title() for x in w),
    "ACRONYM": lambda w: w[0].upper() + "".join(x.title() for x in w[1:]),
    "numbered": lambda w: "my_" + "_".join(w) + "2",
}
CANARY = "cAnArY5f0eXyZ"
CONTAINERS: dict[str, Callable[[str], Any]] = {
    "value": lambda n: {n: CANARY},
    "nested": lambda n: {"a": [{n: {"b": [CANARY]}}]},
    "element": lambda n: ["a", f"{n}={CANARY}"],
    "setting": lambda n: f"run with {n}={CANARY} please",
    "quoted setting": lambda n: f'x {n}="{CANARY} {CANARY}" y',
    "connection string": lambda n: f"Server=x;{n}={CANARY};User=y",
    "header": lambda n: ["Accept: x", f"{n}: Bearer {CANARY}"],
    "header of a command": lambda n: f"curl -H '{n}: {CANARY}' https://x/",
    "lines": lambda n: f"user: me\n{n}: {CANARY}\nhost: x",
    "query": lambda n: f"https://h/x?a=1&{quote(n)}={CANARY}&b=2",
    "URL in a URL": lambda n: "https://h/?next=" + quote(f"https://x/?{n}={CANARY}&a=1", safe=""),
    "JSON": lambda n: json.dumps({"x": json.dumps({n: [CANARY]})}),
    "JSON in a text": lambda n: f"you sent {json.dumps({n: CANARY})} here",
    "pair in JSON": lambda n: f'see [{{"name": "{n}", "value": "{CANARY}"}}]',
    "Python": lambda n: f"you sent { ({n: CANARY, 'b': 1})!r} here",
    "Ruby": lambda n: f'{{"{n}"=>"{CANARY}"}}',
    "XML": lambda n: f"<a><{n.replace(' ', '-')}>{CANARY}</{n.replace(' ', '-')}></a>",
    "form": lambda n: f'<input name="{n}" value="{CANARY}"/>',
    "arguments": lambda n: ["cmd", f"--{n.replace(' ', '-')}", CANARY],
    "command line": lambda n: f"cmd --{n.replace(' ', '-')} {CANARY} x",
    "pairs": lambda n: [[n, CANARY], ["b", "x"]],
    "table": lambda n: [["user", n, "host"], ["me", CANARY, "x"], ["you", CANARY, None]],
    "rows under columns": lambda n: {"columns": ["user", n], "rows": [["me", CANARY], ["you", [CANARY]]]},
    "rows under described columns": lambda n: {
        "rows": [["me", CANARY]],
        "fields": [{"name": "user"}, {"name": n}],
    },
    "CSV": lambda n: f'user,{n},host\nme,{CANARY},x\nyou,"a ""{CANARY}, {CANARY}",y',
    "CSV with semicolons": lambda n: f'here:\n"{n}";"user"\r\n"{CANARY}\n{CANARY}";"x"\r\n{CANARY};"y"\r\n',
    **{
        f"{name}, {value}": lambda n, name=name, value=value: {value: CANARY, "x": 1, name: n}  # type: ignore[misc]
        for name in ("id", "name", "key", "field", "param", "label", "type", "headerName")
        for value in ("value", "val", "content", "data", "text", "stringValue")
    },
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_goes_however_its_name_is_spelled_and_wherever_it_stands(
    spelling: str, container: str
) -> None:
    """One answer holds all names, each in records of its own; no judgement of one looks at another."""
    names = [SPELLINGS[spelling](words) for words in WORDS]
    if container in ("header", "header of a command", "lines"):
        names = [name for name in names if name != "admin.pw"]  # so may a host be called
    held = [CONTAINERS[container](name) for name in names]
    texts = [value for value in held if isinstance(value, str)]
    records = [region(1), *({"id": n, "debug": value} for n, value in enumerate(held, 2))]
    records += [{"id": n, "display_name": text} for n, text in enumerate(texts, 100)]
    envelope = {f"meta{n}": value for n, value in enumerate(held)}
    document = document_of(body(answer(records, **envelope)))
    assert CANARY in body(answer(records, **envelope)).decode()
    assert len(document.records) == len(records)
    for kept in (*(r.value for r in document.records), *document.envelope.items()):
        assert CANARY not in repr(kept)
    assert CANARY not in document.canonical().decode()
    for text in texts:
        assert CANARY not in scrub_message(text), text


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Authorization: Bearer canary", "Authorization: Bearer [redacted]"),
        ("Bearer canary", "Bearer [redacted]"),
        ("Basic dXNlcjpjYW5hcnk=", "Basic [redacted]"),
        ("DB_PASSWORD=my canary", "DB_PASSWORD=[redacted]"),
        ("password=canary", "password=[redacted]"),
        ("https://h/x?sv=1&sig=canary%3D&se=2", "https://h/x?sv=1&sig=[redacted]&se=2"),
        ("a -----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY----- b", "a [redacted] b"),
        ("-----BEGIN PRIVATE KEY-----\ncanary", "[redacted]"),
        ("see eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c4n4ry_x-y here", "see [redacted] here"),
        ("https%3A%2F%2Fu%3Acanary%40host%2Fx", "https%3A%2F%2F[redacted]%40host%2Fx"),
        ("one-time PIN: 4711", "one-time PIN: [redacted]"),
        ("API key: canary", "API key: [redacted]"),
        ("password: |\n  canary\n  canary\nhost: x", "password: [redacted]\nhost: x"),
        ("password: >-\n  canary", "password: [redacted]"),
        ('secret = """canary"""', "secret = [redacted]"),
        ("{b'password': b'canary', b'a': 1}", "{b'password': [redacted], b'a': 1}"),
        ("see ('api_key', 'canary')", "see ('api_key', [redacted])"),
        (
            '<property name="db.password">canary</property>',
            '<property name="db.password">[redacted]</property>',
        ),
        ("<token><![CDATA[canary]]></token>", "<token>[redacted]</token>"),
        (
            'form-data; name="password"\r\n\r\ncanary\r\n--',
            'form-data; name="password"\r\n\r\n[redacted]\r\n--',
        ),
        ("ALTER USER x WITH PASSWORD 'canary'", "ALTER USER x WITH PASSWORD [redacted]"),
        ("x IDENTIFIED BY 'canary'", "x IDENTIFIED BY [redacted]"),
        ("your password is 'canary'", "your password is [redacted]"),
        ("curl -u bob:canary https://h", "curl -u bob:[redacted] https://h"),
        ("machine h login bob password canary", "machine h login bob password [redacted]"),
        ("data['password'] = 'canary'", "data['password'] = [redacted]"),
        ("password\xa0= canary", "password\xa0= [redacted]"),
        ("password\uff1acanary", "password\uff1a[redacted]"),
        ("**password**: canary", "**password**: [redacted]"),
        ("`password` = `canary`", "`password` = [redacted]"),
        ("api_key -> canary", "api_key -> [redacted]"),
        ("password%3Dcanary", "password%3D[redacted]"),
        ("id\tpassword\n1\tcanary\n\nnot a row", "id\tpassword\n1\t[redacted]\n\nnot a row"),
        (
            "<key>password</key>\n<string>canary</string>",
            "<key>[redacted]</key>\n<string>[redacted]</string>",
        ),
        ("<th>Password</th><td>canary</td>", "<th>Password</th><td>[redacted]</td>"),
        ("<Password><Value>canary</Value></Password>", "<Password>[redacted]</Password>"),
        ("<a><token><x>canary", "<a><token>[redacted]"),
        (
            "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\ncanary\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
            "[redacted]",
        ),
        ("Private-Lines: 1\ncanary\nPrivate-MAC: 1", "[redacted] 1"),
        ("see: canary\n-----END PRIVATE KEY----- b", "see: [redacted] b"),
        ("Incorrect API key provided: canary1", "Incorrect API key provided: [redacted]"),
        ("API key 'canary-4711' is not valid", "API key [redacted] is not valid"),
        ("wrong password \u201ccanary\u201d", "wrong password [redacted]"),
        ("https://hooks.slack.com/services/T0/B0/canary", "https://hooks.slack.com/services/[redacted]"),
        ("https://discord.com/api/webhooks/1/canary?a", "https://discord.com/api/webhooks/[redacted]?a"),
        ("https://api.telegram.org/bot12:canary/x", "https://api.telegram.org/bot[redacted]"),
        ("a whsec_c4n4ryc4n4ryc4n4ryc4n4ry b", "a [redacted] b"),
        ("hvs.c4n4ryc4n4ryc4n4ryc4n4ry", "[redacted]"),
        ("sk-proj-c4n4ryc4n4ryc4n4ryc4n4ry", "[redacted]"),
        ("wachtwoord=canary", "wachtwoord=[redacted]"),
        ("пароль: canary", "пароль: [redacted]"),
        ("a, b\nuser, password\nme, x\nnot a row", "a, b\nuser, password\nme,[redacted]\nnot a row"),
        ('<entry key="db.password">canary</entry>', "<entry key=[redacted]>[redacted]</entry>"),
        ("admin:canary@db.internal:5432", "admin:[redacted]@db.internal:5432"),
        ("proxy=me:canary@h:80", "proxy=me:[redacted]@h:80"),
        ("jdbc:oracle:thin:scott/canary@//h:1521/x", "jdbc:oracle:thin:scott/[redacted]@//h:1521/x"),
        ("x IDENTIFIED WITH sha2 BY 'canary'", "x IDENTIFIED WITH sha2 BY [redacted]"),
        ("SET PASSWORD FOR x = PASSWORD('canary')", "SET PASSWORD FOR x = PASSWORD([redacted])"),
        ("the password is: canary7", "the password is: [redacted]"),
        ("recovery code: canary", "recovery code: [redacted]"),
        ("seed phrase: canary b c", "seed phrase: [redacted]"),
        ("ENV API_KEY canary", "ENV API_KEY [redacted]"),
        ("docker login -u me -p canary h", "docker login -u me -p [redacted] h"),
        ("sshpass -p 'canary' ssh h", "sshpass -p [redacted] ssh h"),
        ("mysql -u root -pcanary", "mysql -u root -p[redacted]"),
        ("curl -ume:canary https://h", "curl -ume:[redacted] https://h"),
        ("ldapsearch -D cn=x -w canary", "ldapsearch -D cn=x -w [redacted]"),
        ("enable secret 5 canary", "enable secret 5 [redacted]"),
        ("peer x preshared-key canary", "peer x preshared-key [redacted]"),
        ("a $2y$10$c4n4ryc4n4ryc4n4ry b", "a [redacted] b"),
        ("root:$6$salt$c4n4ry.c4n4ry/x:1", "root:[redacted]:1"),
        ("{SSHA}c4n4ryc4n4ry==", "[redacted]"),
        (
            " user | password \n------+------\n me | canary\n\nx",
            " user | password \n------+------\n me |[redacted]\n\nx",
        ),
        ("| user | pin |\n|---|---|\n| me | canary |\n", "| user | pin |\n|---|---|\n| me |[redacted]|\n"),
        (
            "+---+---+\n| a | token |\n+---+---+\n| b | canary |\n+---+---+\n",
            "+---+---+\n| a | token |\n+---+---+\n| b |[redacted]|\n+---+---+\n",
        ),
        (" password \n---------\n canary\n", " password \n---------\n[redacted]\n"),
        ("user | me\npassword | canary", "user | me\npassword |[redacted]"),
        ("password\tcanary", "password\t[redacted]"),
        ("Password:\n  canary\nhost: x", "Password:\n  [redacted]\nhost: x"),
        ("&quot;password&quot;: &quot;canary&quot; &lt;", '"password": [redacted] <'),
        ("password\\u003dcanary", "password=[redacted]"),
    ],
)
def test_secrets_in_texts(text: str, scrubbed: str) -> None:
    assert redact({"x": [text]}) == {"x": [scrubbed]}
    assert redact({text: None}) == {scrubbed: None}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Basic network",
            "basic ssd_hiiops",
            "Key West",
            "token",
            "2026-05-01T12:30:00Z",
            "secret-db.internal:5432",
        ),
        *(
            "https://token.example:443/v3",
            "https://ed-8.cloud.core.pw:5000/v3",
            "auth.core.pw: no such host",
            "a: b",
        ),
        *(
            "keystone of ed-8: 'x'",
            "['a', 'b']",
            "error -> warning",
            "su -u root",
            "x login: ok",
            "duplicate key 'id'",
        ),
        *(
            "Unexpected token 'function'",
            "token 'NEW' is no state",
            "sk-bratislava-datacenter-1",
            "<keystone><id>7</id></keystone>",
            "https://hooks.example/services/x",
            "-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----",
        ),
        *(
            "password:\nhost: x",
            "the key:\n\nfrankfurt",
            "mailto:ops@example.com",
            "seen 12:30 by ops@example.com",
            "mysql -h db",
            "user | key\nof it",
            "&lt;b&gt; &quot;key&quot;",
            "$5 $6 {sha}",
            "password 7",
            "ENV LANG C",
            "monkey\tbusiness",
        ),
        *("keystone_id=7", "monkey=1", "12:30", "port=5000", "password=", "password: null", "tokenizer=bpe"),
    ],
)
def test_texts_that_only_look_like_secrets_stay(text: str) -> None:
    assert redact({"x": [text], "display_name": text}) == {"x": [text], "display_name": text}


@pytest.mark.parametrize("field", sorted(documented_names() - {"password"}))
def test_a_documented_field_is_neither_a_secret_nor_beside_the_name_of_one(field: str) -> None:
    named = {"display_name": "secret key", "id": "password", "name": "token", field: "text"}
    assert redact(named)[field] == "text"


# By content: URLs


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("https://user:canary@host/x", "https://[redacted]@host/x"),
        ("https://canary@host", "https://[redacted]@host"),
        ("https://:canary@host:5000/v3", "https://[redacted]@host:5000/v3"),
        ("//user:canary@host", "//[redacted]@host"),
        ("postgresql+psycopg://u:can%40ary@db:5432/x?a=1", "postgresql+psycopg://[redacted]@db:5432/x?a=1"),
        ("https://u:can@ary@host/", "https://[redacted]@host/"),
        ("https://u:can:ary@host/", "https://[redacted]@host/"),
        ("https://u:can/ary@host/x", "https://[redacted]@host/x"),
        ("https://u:can?ary@host/x", "https://[redacted]@host/x"),
        ("https://u:can#ary@host/x", "https://[redacted]@host/x"),
        ("https://u:can\\ary@host/x", "https://[redacted]@host/x"),
        ("https://u:cänäry@host/x", "https://[redacted]@host/x"),
        ("https://u:canary@[2001:db8::1]:5000/", "https://[redacted]@[2001:db8::1]:5000/"),
        ("one //a:canary@b, two //c:canary@d.", "one //[redacted]@b, two //[redacted]@d."),
        ("https://x/?next=https://u:canary@y/", "https://x/?next=https://[redacted]@y/"),
    ]
    + [
        # All that RFC 3986 allows in userinfo as it is.
        (f"https://u:can{c}ary@host/", "https://[redacted]@host/")
        for c in "-._~!$&'()*+,;=:"
    ],
)
def test_userinfo_of_a_url_goes(text: str, scrubbed: str) -> None:
    assert scrub_text(text) == scrubbed
    assert redact({"url": [text]}) == {"url": [scrubbed]}
    assert "canary" not in scrub_message(text)


@pytest.mark.parametrize("separator", ["?", "?a=1&", "?a=1;", "#", "#a=1&", "/x?y=https://h/%20&"])
@pytest.mark.parametrize(
    "name", ["token", "access_token", "apiKey", "api-key", "X-Amz-Signature", "password", "key", "user[pass]"]
)
def test_secret_parameters_of_a_url_go(separator: str, name: str) -> None:
    text = f"https://host/x{separator}{name}=ca%20na+ry&b=2#end"
    assert scrub_text(text) == f"https://host/x{separator}{name}=[redacted]&b=2#end"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "//",
        "https://ed-10.cloud.core.pw:5000/v3",
        "wss://console.example:6083/",
        "https://[2001:db8::1]:5000/v3",
        "https://host:5000/x@y",
        "https://host/a@b",
        "https://host/?q=a@b",
        "mailto:someone@example.com",
        "someone@example.com",
        "a == b // c",
        "https://host/?a=1&b=2;c=3#d=4",
        "https://host/?keystone_id=7&page=2",
        "?token=",
        "key: value",
        'the field "state": unknown, "password": null',
        "name=a count=7",
    ],
)
def test_what_only_looks_a_little_like_a_secret_in_a_url_stays(text: str) -> None:
    assert scrub_text(text) == text
    assert redact(text) == text


def test_a_secret_in_a_documented_url_costs_only_the_secret() -> None:
    listed = region(1, novnc_proxy_url="https://user:canary@console.example:6080/?token=canary&a=1")
    document = document_of(body(answer([listed])))
    found = listing_of(document).shown["region"].sightings[1].entity
    assert found.novnc_proxy_url == "https://[redacted]@console.example:6080/?token=[redacted]&a=1"  # type: ignore[union-attr]
    assert b"canary" not in document.canonical()


@pytest.mark.long
@pytest.mark.parametrize(
    "unit",
    [
        "//a:",
        "//",
        "//a:b",
        "a",
        "a:",
        "@",
        "//a:@",
        "//1:2/",
        "?a",
        "&token",
        "http://",
        "/:",
        '"key": [], ',
        "'key': {",
        "a=' ",
        *(
            "password=a ",
            "token: a,",
            "api key=",
            "eyJaaaaaa.",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "Private-Lines: 1\n",
            "<key><a>",
            "<key>key</key><a>",
            "token 'a",
            "hooks.slack.com/services/ ",
            "<key>",
            "--key '",
            "'Cookie: x",
        ),
        *(
            "%25",
            "%2F%2Fa%40",
            "&token=",
            "name=key value=",
            "\\",
            'password=\\"',
            ",",
            "basic ",
            "\npassword=a",
        ),
        *("a:b@", "mysql a ", "mysql -p", "|", "password|", "key|b\n", "key\n---\n", "-", "\t", "key\t\t"),
        *("&amp;quot;", "&quot;key", "\\u003d", "password:\n", "$6$", "password 7 ", "ENV KEY ", "password("),
    ],
)
@pytest.mark.parametrize(("begin", "end"), [("@", ""), ("", "@"), ("//u:canary@", "=")])
def test_long_text_of_a_hostile_answer_is_scrubbed_in_good_time(begin: str, end: str, unit: str) -> None:
    """A pattern whose time grew with the square of the length would not end within this century."""
    text = begin + unit * 100_000 + end
    scrubbed = scrub_text(text)
    assert "canary" not in scrubbed
    assert scrub_text(scrubbed) == scrubbed


# By content: parts of a key

secrets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="[]"), min_size=1)
"""What a header can carry, without blanks. Brackets are left out: the marker has some of its own."""


@st.composite
def echoes(draw: st.DrawFn) -> tuple[str, str]:
    """A secret, and a text in which parts of it stand among others."""
    secret = draw(secrets)
    cuts = st.integers(0, len(secret))
    piece = st.tuples(cuts, cuts).map(lambda cut: secret[min(cut) : max(cut)])
    others = st.text(max_size=6) | st.text(sorted(set(secret)), max_size=6)
    others |= st.sampled_from(["\0", " ", "\n", "//", "@", "?token=", "apikey ", "Bearer "])
    return secret, "".join(draw(st.lists(piece | others, max_size=8)))


@given(echoes(), st.sampled_from([4, 8]))
@settings(max_examples=300)
def test_no_part_of_a_secret_survives(echo: tuple[str, str], size: int) -> None:
    secret, text = echo
    assume(not any(part in MARKER for part in parts(secret, size)))
    scrubbed = scrub_parts(text, (secret,), size)
    assert not [part for part in parts(secret, size) if part in scrubbed]
    assert not contains_part(scrubbed, secret, size)
    assert scrub_parts(scrubbed, (secret,), size) == scrubbed
    if not contains_part(text, secret, size):
        assert scrubbed == text


@given(echoes(), st.text(st.characters(exclude_categories=[]), max_size=5), st.integers(10, 60))
@settings(max_examples=300)
def test_a_message_holds_no_part_of_a_secret_and_is_one_printable_line(
    echo: tuple[str, str], noise: str, limit: int
) -> None:
    secret, text = echo
    assume(not any(part in MARKER for part in parts(secret, 4)))
    message = scrub_message(noise + text + noise, (secret,), limit)
    assert not [part for part in parts(secret, 4) if part in message]
    assert message.isprintable()
    message.encode()
    assert len(message) <= limit
    assert message == message.strip()
    assert "  " not in message


@given(echoes(), secrets)
@settings(max_examples=200)
def test_of_two_secrets_no_part_survives(echo: tuple[str, str], second: str) -> None:
    first, text = echo
    both = (first, second)
    assume(not any(part in MARKER for secret in both for part in parts(secret, 4)))
    scrubbed = scrub_parts(text + second[1:], both, 4)
    assert not [part for secret in both for part in parts(secret, 4) if part in scrubbed]


def test_a_part_that_blanks_divide_does_not_grow_together() -> None:
    """White space is reduced for one line: that must not complete a part of a key with blanks in it."""
    key = "ab cd ef gh"
    for blank in ("\t", "\n", "  ", "\0", " \n "):
        message = scrub_message(f"key ab{blank}cd{blank}ef is not valid", (key,))
        assert not [part for part in parts(key, 4) if part in message]


@given(st.text(max_size=60) | echoes().map(lambda echo: echo[1]))
@settings(max_examples=300)
def test_scrubbing_again_changes_nothing(text: str) -> None:
    assert scrub_text(scrub_text(text)) == scrub_text(text)
    once = scrub_message(text)
    assert scrub_message(once) == once
    assert redact(redact({"a": text, text: text})) == redact({"a": text, text: text})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the key 7351$qzWx… is unknown", "the key [redacted]… is unknown"),
        ("7351$qzWxvKpR8mTn", "[redacted]"),
        ("7351$qzWxvKpR8mTn7351$qzWxvKpR8mTn", "[redacted]"),
        ("ends with mTn", "ends with mTn"),
        ("ends with 8mTn", "ends with [redacted]"),
        ("Authorization: apikey other-key", "Authorization: apikey [redacted]"),
        ("Bearer abc.def", "Bearer [redacted]"),
        ("a\n\tb\0c\x1b[31m  d\u202e", "a b c [31m d"),
        ("\ud800 half", "half"),
        ("", ""),
    ],
)
def test_messages(text: str, message: str) -> None:
    assert scrub_message(text, (KEY,)) == message


def test_a_long_message_is_cut_after_it_was_scrubbed() -> None:
    """Cut first, and a part of a key at the end would be too short to be known."""
    for length in range(480, 510):
        message = scrub_message("x" * length + KEY, (KEY,))
        assert len(message) <= 500
        assert not [part for part in parts(KEY, 4) if part in message]


def test_an_empty_key_scrubs_nothing() -> None:
    assert scrub_parts("text", ("",), 4) == "text"
    assert not contains_part("text", "")


# The key that asked, in odd places of the answer

PLACES: dict[str, Any] = {
    "a documented value": answer([region(1, display_name=KEY), region(2)]),
    "a part of a documented value": answer([region(1, display_name=f"Region of {KEY} here"), region(2)]),
    "its first half": answer([region(1, slug=KEY[:9]), region(2)]),
    "its second half": answer([region(1, slug=KEY[-8:]), region(2)]),
    "within an object of a region": answer([region(1, keystone=keystone(1001, username=KEY)), region(2)]),
    "an enum": answer([region(1, zone=KEY), region(2)]),
    "a list": answer([region(1, available_volume_types=["a", KEY]), region(2)]),
    "an unknown value": answer([region(1, hint=[{"x": [KEY]}]), region(2)]),
    "a key of a region": answer([region(1, **{KEY: 1}), region(2)]),
    "a part of a key": answer([region(1, **{f"x-{KEY}-y": {"z": 1}}), region(2)]),
    "a key within": answer([region(1, a={"b": [{KEY: KEY}]}), region(2)]),
    "the envelope": answer([region(1), region(2)], hint=KEY),
    "a key of the envelope": answer([region(1), region(2)], **{KEY: {KEY: [KEY]}}),
    "a record that is no object": answer([region(1), region(2), KEY]),
    "a URL": answer([region(1, novnc_proxy_url=f"https://h/{KEY}/?next={KEY}"), region(2)]),
    "a value and a secret value": answer([region(1, api_key=KEY, slug=KEY), region(2)]),
    "one value after another": answer([region(1, slug=KEY + KEY), region(2, slug=KEY)]),
}


def assert_gone(document: Document, key: str) -> None:
    text = document.canonical().decode()
    values = json.dumps(json.loads(text), ensure_ascii=False)
    listing = repr(listing_of(document)) + repr(listing_of(document).drift)
    for shown in (text, values, listing):
        assert not [part for part in parts(key, 8) if part in shown]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("escaped", [False, True])
def test_the_key_that_asked_does_not_land_in_evidence(place: str, escaped: bool) -> None:
    text = json.dumps(PLACES[place])
    if escaped:
        text = text.replace(KEY[:5], "".join(f"\\u{ord(c):04x}" for c in KEY[:5]))
    document = document_of(text.encode(), (KEY,))
    assert_gone(document, KEY)
    found = listing_of(document)
    assert set(found.shown["region"].sightings) == {1, 2}
    assert found.is_whole
    untouched = document_of(body(answer([region(2)])), (KEY,))
    if place != "one value after another":
        assert untouched.records[0] in document.records


@pytest.mark.parametrize("key", ['7351"qz"Wxv"KpR"8mTn', "7351\\qz\\Wxv\\KpR\\8mTn", "7351/qz&W<xv>'KpR8m"])
def test_a_key_whose_characters_json_escapes_does_not_land_either(key: str) -> None:
    document = document_of(body(answer([region(1, display_name=f"of {key}", **{key: key})])), (key,))
    (name,) = {r.value["display_name"] for r in document.records}
    assert not [part for part in parts(key, 8) if part in name]
    names = "".join(document.records[0].value)
    assert not [part for part in parts(key, 8) if part in names]


@pytest.mark.parametrize("key", ["k", "abc", "abcdefg"])
def test_a_key_shorter_than_a_part_counts_as_a_whole(key: str) -> None:
    document = document_of(body({"count": 0, "results": [], "x": f"…{key.upper()} {key}…"}), (key,))
    assert document.envelope["x"] == f"…{key.upper()} {MARKER}…"


def test_an_answer_without_the_key_is_the_same_evidence_whoever_asked() -> None:
    said = body(answer([region(1), region(2, display_name=KEY[:7])]))
    addresses = {document_of(said, keys).address for keys in ((), (KEY,), ("another-key-altogether",))}
    assert len(addresses) == 1


def answer_of(said: bytes) -> Answer:
    return Answer(Exchange(NOON, NOON), said)


@pytest.mark.parametrize(
    "said",
    [
        f'{{"{KEY}": 1, "{KEY}": 2}}'.encode(),
        f'{{"x": {{"{KEY[:9]}": 1, "{KEY[:9]}": 2}}}}'.encode(),
        body({"message": f"bad key {KEY}", "exception_class": KEY, "request_id": KEY}),
        body({"message": "bad", "results": KEY}),
        body(KEY),
        body([KEY]),
        b'{"results": [' + KEY.encode(),
        KEY.encode(),
        b"<html>" + KEY.encode(),
        b"\xff" + KEY.encode(),
    ],
)
def test_the_key_does_not_stand_in_why_an_answer_of_status_200_is_not_usable(said: bytes) -> None:
    failure = read(answer_of(said), KEY, Reader())
    assert isinstance(failure, Failure)
    assert failure.http_status == 200
    assert not [part for part in parts(KEY, 4) if part in repr(failure)]


# Where the name stands elsewhere


@pytest.mark.parametrize(
    ("given_value", "redacted"),
    [
        ({"name": "OS_PASSWORD", "value": "canary"}, {"name": "OS_PASSWORD", "value": MARKER}),
        ({"Header": "Authorization", "Value": ["canary"]}, {"Header": "Authorization", "Value": MARKER}),
        ({"key": "token", "default": "canary", "x": 1}, {"key": MARKER, "default": MARKER, "x": 1}),
        ({"name": "OS_PASSWORD", "value": None}, {"name": "OS_PASSWORD", "value": None}),
        ({"name": "OS_USER", "value": "me"}, {"name": "OS_USER", "value": "me"}),
        ([["Authorization", "canary"], ["Date", "x"]], [["Authorization", MARKER], ["Date", "x"]]),
        ({"types": ["secret", "standard"]}, {"types": ["secret", "standard"]}),
    ],
    ids=str,
)
def test_a_value_beside_the_name_of_a_secret_goes(given_value: Any, redacted: Any) -> None:
    assert redact(given_value) == redacted


SETTINGS = {"user": "me", "password": "ca\"n'ary", "n": {"tokens": ["canary", {"a": "canary"}]}, "last": 1}


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(
    "value", [SETTINGS, {"password": 4711}, [SETTINGS, SETTINGS]], ids=["all", "number", "list"]
)
def test_a_secret_in_json_in_a_string_goes(depth: int, value: Any) -> None:
    text = value
    for _ in range(depth):
        text = json.dumps({"inner": text, "pin": 1})
    scrubbed = redact({"debug": text})["debug"]
    for secret in ("canary", "ca\\", "n'ary", "4711"):
        assert secret not in scrubbed
    assert MARKER in scrubbed
    if value is SETTINGS:
        assert "user" in scrubbed
        assert "last" in scrubbed
    assert redact({"debug": scrubbed}) == {"debug": scrubbed}
    assert "4711" not in scrub_message(f"400, you sent {text}")


@pytest.mark.parametrize(
    "text",
    [
        "the password is cAnary7!",
        "Your pwd was canary_x, change it",
        "API key is canary-1",
        "token = canary1",
    ],
)
def test_a_sentence_that_says_a_secret(text: str) -> None:
    assert "anary" not in scrub_text(text)


@pytest.mark.parametrize(
    "text",
    ["the password is wrong", "token is expired.", "The secret is required", "password was changed, 3 times"],
)
def test_a_sentence_about_a_secret_stays(text: str) -> None:
    assert scrub_text(text) == text


@pytest.mark.parametrize("text", ["the body {'password': 'canary'} is wrong", 'cut: "token": "canary'])
def test_a_secret_in_what_looks_like_json_goes_from_a_message(text: str) -> None:
    assert "canary" not in scrub_message(text)
    assert MARKER in scrub_message(text)


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("host=db password=canary dbname=x", "host=db password=[redacted] dbname=x"),
        ("password = 'ca nary' host = db", "password = [redacted] host = db"),
        ("host=db port=1", "host=db port=1"),
    ],
)
def test_a_password_in_a_connection_string_goes(text: str, scrubbed: str) -> None:
    assert scrub_text(text) == scrubbed


@pytest.mark.parametrize("before", ["", "a", "ab", "apikey ", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_in_base64_does_not_land(before: str, encode: Any) -> None:
    key = "4711$KeY?>~a1b2c3d4~~??"
    spelled = encode((before + key).encode()).decode()
    document = document_of(body(answer([region(1, display_name=f"I am {spelled}")])), (key,))
    for text in (document.canonical().decode(), scrub_message(f"401 for {spelled}", (key,))):
        rests = {spelled[i : i + 8] for i in range(len(before) + 2, len(spelled) - 10)}
        assert [rest for rest in rests if rest in text] == []


ENCODINGS: dict[str, Callable[[str], str]] = {
    "URL": lambda k: quote(k, safe=""),
    "URL, twice": lambda k: quote(quote(k, safe=""), safe=""),
    "URL, every character": lambda k: "".join(f"%{b:02x}" for b in k.encode()),
    "URL, twice, every character": lambda k: "".join(f"%25{b:02X}" for b in k.encode()),
    "JSON": lambda k: "".join(f"\\u{ord(c):04x}" for c in k),
    "JSON, twice": lambda k: "".join(f"\\\\u{ord(c):04X}" for c in k),
    "Python": lambda k: "".join(f"\\x{ord(c):02x}" for c in k),
    "HTML": lambda k: "".join(f"&#{ord(c)};" for c in k),
    "HTML, hexadecimal": lambda k: "".join(f"&#x{ord(c):X};" for c in k),
    "HTML, names": html.escape,
    "HTML in a URL": lambda k: quote("".join(f"&#{ord(c)};" for c in k), safe=""),
    "hexadecimal": lambda k: k.encode().hex(),
    "HEXADECIMAL": lambda k: k.encode().hex().upper(),
    "hexadecimal, colons": lambda k: k.encode().hex(":"),
    "base64": lambda k: base64.b64encode(k.encode()).decode(),
    "base64 after one": lambda k: base64.b64encode(b"x" + k.encode()).decode(),
    "base64 after two": lambda k: base64.b64encode(b"xy" + k.encode()).decode(),
    "base64 for URLs": lambda k: base64.urlsafe_b64encode(b"user:" + k.encode()).decode(),
    "base64 in a URL": lambda k: quote(base64.b64encode(b"user:" + k.encode()).decode(), safe=""),
    "hexadecimal, hyphens": lambda k: k.encode().hex("-"),
    "hexadecimal of UTF-16": lambda k: k.encode("utf-16-le").hex(),
    "base64 of UTF-16": lambda k: base64.b64encode(k.encode("utf-16-le")).decode(),
    "base64, twice": lambda k: base64.b64encode(base64.b64encode(k.encode())).decode(),
    **{
        f"base32 after {n}": lambda k, n=n: base64.b32encode(b"x" * n + k.encode()).decode()  # type: ignore[misc]
        for n in range(5)
    },
    "base32 in lower case": lambda k: base64.b32encode(k.encode()).decode().lower(),
    "octal": lambda k: "".join(f"\\{b:03o}" for b in k.encode()),
    "braces": lambda k: "".join(f"\\u{{{ord(c):x}}}" for c in k),
    "eight digits": lambda k: "".join(f"\\U{ord(c):08x}" for c in k),
    "URL, as scripts escaped": lambda k: "".join(f"%u{ord(c):04x}" for c in k),
    "quoted-printable": lambda k: "".join(f"={b:02X}" for b in k.encode()),
    "full width": lambda k: "".join(chr(ord(c) + 0xFEE0) for c in k),
    "reversed": lambda k: k[::-1],
    "upper case": str.upper,
    "lower case": str.lower,
    "other case": str.swapcase,
}


@pytest.mark.parametrize(
    "key", ["4711$KeY?>~a1b2c3d4~~??", "4711$0a1b2c3d4e5f60718293a4b5c6d7", '7351\\qz"Wx&vKpR8m<Tn']
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_key_that_is_written_otherwise_does_not_land(encoding: str, key: str) -> None:
    spelled = ENCODINGS[encoding](key)
    said = answer([region(1, display_name=f"I am {spelled}, who are you?", **{spelled: 1})])
    document = document_of(body(said), (key,))
    (record,) = (r.value for r in document.records)
    shown = [record["display_name"], *record, scrub_message(f"401 for {spelled}, no", (key,))]
    least = len(spelled) // 3
    assert not [part for part in parts(spelled[4:-4], least) for text in shown if part in text]
    assert record["display_name"].startswith("I am ")
    assert MARKER in record["display_name"]
    assert record["display_name"].endswith(", who are you?")


def test_a_long_key_costs_no_more_than_a_short_one() -> None:
    """The text is looked through once, whatever is looked for."""
    long = "eyJ" + "".join(chr(97 + (i * i + i // 7) % 26) + str(i % 10) for i in range(4000))
    text = "region " * 100_000
    short, looked = keys_of((KEY,), 8), keys_of((long,), 8)
    assert not short.stand_in(text)
    assert not looked.stand_in(text)
    assert looked.scrub(f"{text}{long[5000:5020]}") == text + MARKER


def test_a_key_in_a_url_does_not_land() -> None:
    key = "4711$KeY/x+y=z"
    document = document_of(
        body(answer([region(1, display_name=f"see /login/{quote(key, safe='')}/x")])), (key,)
    )
    assert "4711" not in document.canonical().decode()
    assert "4711" not in scrub_message(f"see /login/{quote(key, safe='')}/x", (key,))


@pytest.mark.parametrize(
    "value",
    [
        {
            "methods": ["password", "standard"],
            "headers": [["Authorization", "hunter2-value"], ["Accept", "x"]],
        },
        {"headers": [["X-Api-Key", "hunter2-value", "text"]], "methods": ["password", "standard", "none"]},
        {"methods": ["password", "standard"], "commands": [["--token", "hunter2-value"]]},
        [["password", "user", "zone", "state"], ["--token", "hunter2-value", "a", "b"]],
    ],
)
def test_a_name_that_is_hidden_as_a_cell_of_a_table_still_hides_what_it_names(value: Any) -> None:
    assert "hunter2-value" not in str(redact(value))


def test_a_table_keeps_what_is_beside_its_secrets() -> None:
    rows = {"columns": ["user", "password", "zone"], "rows": [["me", "Tr0ub4dor", "EMEA"]]}
    assert redact(rows) == rows | {"rows": [["me", MARKER, "EMEA"]]}
