"""The manifests: accepted by the schemas of Kubernetes and by its strictest policy, true of this collector."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.settings.loading import load
from tests.support import prometheus_rule
from tests.support.deployed import (
    BASE,
    DOCKERFILE,
    KUBERNETES,
    all_containers,
    commented,
    deployment,
    instructions,
    run,
)
from tests.support.kustomize import containers_of, files_of, render, templates
from tests.support.tools import tool

SQLITE, MONITORING = KUBERNETES / "sqlite", KUBERNETES / "monitoring"
OPERATORS = {"PodMonitor", "PrometheusRule"}
"""Kinds that are no part of Kubernetes."""
KINDS = {
    "postgresql": (BASE, ()),
    "postgresql, watched": (BASE, (MONITORING,)),
    "sqlite": (SQLITE, ()),
    "sqlite, watched": (SQLITE, (MONITORING,)),
}
Objects = list[dict[str, Any]]


@pytest.fixture(params=KINDS)
def objects(request: pytest.FixtureRequest) -> Objects:
    folder, components = KINDS[request.param]
    return render(folder, *components)


def named(objects: Objects, kind: str, name: str = "gcore-collector") -> Any:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod_of(objects: Objects) -> Any:
    return named(objects, "Deployment")["spec"]["template"]["spec"]


def kustomizations() -> Iterator[Path]:
    return (path.parent for path in sorted(KUBERNETES.glob("*/kustomization.yaml")))


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_accepts_the_manifests(version: str, tmp_path: Path) -> None:
    validate = tool("kubernetes-validate", wheel="kubernetes-validate")
    all_of_them = [
        o for folder, more in KINDS.values() for o in render(folder, *more) if o["kind"] not in OPERATORS
    ]
    manifests = tmp_path / "rendered.yaml"
    manifests.write_text(yaml.safe_dump_all(all_of_them))
    said = run(validate, "--strict", "--kubernetes-version", version, manifests)
    assert said.count(" passed ") == len(all_of_them)


def test_kustomizations_list_every_file_and_find_what_they_list() -> None:
    assert {folder.name for folder in kustomizations()} == {p.name for p in KUBERNETES.iterdir()}
    for folder in kustomizations():
        assert {path.name for path in folder.iterdir()} == files_of(folder), folder.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kustomize_makes_the_same(kind: str, tmp_path: Path) -> None:
    kubectl = tool("kubectl", package="kubernetes-client, 1.21 or later")
    folder, components = KINDS[kind]
    overlay = {
        name: [str(Path("..", *(".." for _ in tmp_path.parts[2:]), *path.parts[1:])) for path in paths]
        for name, paths in (("resources", [folder]), ("components", components))
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    said = run(kubectl, "kustomize", "--load-restrictor", "LoadRestrictionsNone", tmp_path)
    # Names of generated objects end in a hash.
    theirs = yaml.safe_load_all(
        re.sub(
            r"(name|secretName): gcore-collector-(?!monitoring)[a-z0-9]{10}$",
            r"\1: gcore-collector",
            said,
            flags=re.M,
        )
    )

    def key(o: Any) -> tuple[str, str]:
        return o["kind"], o["metadata"]["name"]

    assert sorted(theirs, key=key) == sorted(render(folder, *components), key=key)


def test_overlays_that_are_shown_change_what_there_is() -> None:
    base = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    for folder in (BASE, SQLITE):
        overlay = yaml.safe_load(
            "\n".join(line for line in commented(folder / "kustomization.yaml") if "kubectl" not in line)
        )
        (path,) = overlay["resources"]
        assert (KUBERNETES.parent.parent / path.removeprefix("path/to/")).samefile(folder)
        for kind in ("images", "configMapGenerator", "secretGenerator"):
            if kind in overlay:
                assert [each["name"] for each in overlay[kind]] == [each["name"] for each in base[kind]]
        (replaced,) = overlay["secretGenerator"]
        needed = {
            v["value"].rpartition("/")[2]
            for v in pod_of(render(folder))["containers"][0]["env"]
            if "/secrets/" in v["value"]
        }
        if folder == BASE:
            needed.add("pgpass")
        assert set(replaced["files"]) == needed


def test_no_secret_is_shipped() -> None:
    (generator,) = yaml.safe_load((BASE / "kustomization.yaml").read_text())["secretGenerator"]
    for entry in generator["files"]:
        name = entry.split("=")[-1]
        assert name.endswith(".example")
        assert (BASE / name).read_text().split(":")[-1].strip() == "replace-me"


def test_pods_find_what_they_name(objects: Objects) -> None:
    settings = load(named(objects, "ConfigMap")["data"])
    is_sqlite = settings.database_url.get_secret_value() == "sqlite:////data/collector.db"
    assert is_sqlite or settings.database_url.get_secret_value().startswith("postgresql://")
    for template in templates(objects):
        pod = template["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        secret = named(objects, "Secret", volumes["secret"]["secret"]["secretName"])
        used: set[str] = set()
        for container in containers_of(pod):
            places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            used |= set(places.values())
            for entry in container.get("env", ()):
                folder, _, key = entry["value"].rpartition("/")
                if entry["name"].endswith("_FILE"):
                    assert places[folder] == "secret"
                    assert key in secret["data"]
                elif entry["name"] == "PGPASSFILE":
                    assert places[folder] == "pgpass"
                else:
                    assert (entry["name"], entry["value"] in places) == ("TMPDIR", True)
        assert used == set(volumes)
        assert ("data" in volumes) == is_sqlite
        if is_sqlite:
            name = volumes["data"]["persistentVolumeClaim"]["claimName"]
            claim = named(objects, "PersistentVolumeClaim", name)
            assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
            assert "/data" in places
        else:
            _, _, _, taken, kept = pod["initContainers"][0]["command"]
            assert kept == {e["name"]: e["value"] for e in pod["containers"][0]["env"]}["PGPASSFILE"]
            assert taken.rpartition("/")[2] in secret["data"]


def test_the_history_is_verified_every_day(objects: Objects) -> None:
    """By a job, or by the process itself where it alone has the file."""
    jobs = [each for each in objects if each["kind"] == "CronJob"]
    every = load(named(objects, "ConfigMap")["data"]).verify_every
    assert (len(jobs) == 1) == (every is None)
    assert every in (None, timedelta(days=1))


def test_only_postgresql_has_replicas(objects: Objects) -> None:
    spec = named(objects, "Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    budget = named(objects, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"] == spec["selector"]["matchLabels"] == labels
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    if "data" in volumes:
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    else:
        assert spec["replicas"] > budget["maxUnavailable"]


def test_pods_keep_to_the_restricted_standard(objects: Objects) -> None:
    """Each control of the Pod Security Standards' level `restricted`, with those of `baseline`, by its name there."""
    for template in templates(objects):
        pod = template["spec"]
        each = [*containers_of(pod), *pod.get("ephemeralContainers", ())]
        contexts = [container["securityContext"] for container in each]
        # Host Process, Host Namespaces, Host Ports, Host Probes
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not any("windowsOptions" in c for c in (*contexts, pod["securityContext"]))
        assert not any("hostPort" in port for container in each for port in container.get("ports", ()))
        probes = [c[p] for c in each for p in ("livenessProbe", "readinessProbe") if p in c]
        assert not any("host" in probe["httpGet"] for probe in probes)
        # Privileged Containers, Privilege Escalation, Capabilities
        assert not any(context.get("privileged") for context in contexts)
        assert all(context["allowPrivilegeEscalation"] is False for context in contexts)
        assert all(context["capabilities"] == {"drop": ["ALL"]} for context in contexts)
        # HostPath Volumes, Volume Types
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
        assert kinds <= allowed | {"projected", "secret"}
        # AppArmor, SELinux, /proc Mount Type, Sysctls
        special = {"appArmorProfile", "seLinuxOptions", "procMount"}
        assert not any(special & set(c) for c in (*contexts, pod["securityContext"]))
        assert "sysctls" not in pod["securityContext"]
        assert not any("apparmor" in name for name in template["metadata"].get("annotations", {}))
        # Running as Non-root, Running as Non-root user, Seccomp
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert not any({"runAsUser", "runAsNonRoot", "seccompProfile"} & set(context) for context in contexts)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_pods_have_less_than_the_standard_allows(objects: Objects) -> None:
    for template in templates(objects):
        pod = template["spec"]
        context = pod["securityContext"]
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == dict(instructions(DOCKERFILE))["USER"]
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        for container in containers_of(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert set(container["resources"]) == {"requests", "limits"}
            assert "startupProbe" not in container, "it kills; see the manifest"
            for mount in container["volumeMounts"]:
                assert mount.get("readOnly") or mount["name"] in ("tmp", "data", "pgpass"), mount


def test_networks_let_in_and_out_what_the_collector_needs(objects: Objects) -> None:
    spec = named(objects, "NetworkPolicy")["spec"]
    labels = named(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    (selected,) = spec["podSelector"]["matchExpressions"]
    assert selected["operator"] == "In"
    of_pods = {template["metadata"]["labels"][selected["key"]] for template in templates(objects)}
    assert of_pods <= set(selected["values"])
    others = [policy for policy in policies if policy != spec]
    assert all(policy["podSelector"] == {"matchLabels": labels} for policy in others)
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    url = named(objects, "ConfigMap")["data"]["COLLECTOR_DATABASE_URL"]
    assert ports == {53, 443, *([5432] if url.startswith("postgresql") else [])}
    served = {port["name"] for c in pod_of(objects)["containers"] for port in c["ports"]}
    for policy in policies:
        for rule in policy["ingress"]:
            assert {port["port"] for port in rule["ports"]} == served
            assert rule["from"], "from everywhere"


def test_prometheus_finds_the_pods_and_the_rules() -> None:
    objects = render(BASE, MONITORING)
    monitor = named(objects, "PodMonitor")["spec"]
    labels = named(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"] == labels
    assert labels[monitor["jobLabel"]] == "gcore-collector"
    (endpoint,) = monitor["podMetricsEndpoints"]
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    credentials = endpoint["authorization"]["credentials"]
    assert credentials["key"] in named(objects, "Secret", credentials["name"])["data"]
    (place,) = yaml.safe_load((MONITORING / "name-reference.yaml").read_text())["nameReference"][0][
        "fieldSpecs"
    ]
    assert place == {"kind": "PodMonitor", "path": "spec/podMetricsEndpoints/authorization/credentials/name"}
    assert prometheus_rule.FILE.read_text() == prometheus_rule.manifest(), (
        "python -m tests.support.prometheus_rule --write"
    )
    rules = yaml.safe_load(prometheus_rule.RULES.read_text())
    assert named(objects, "PrometheusRule")["spec"] == rules


def test_every_container_of_the_base_is_ours() -> None:
    assert {container["image"].partition(":")[0] for container in all_containers()} == {"gcore-collector"}
