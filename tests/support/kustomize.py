"""What `kubectl kustomize` makes of our manifests, as far as they use it: for machines without kubectl.

Names of generated objects lack the hash at their end. A test marked `slow` compares with kubectl.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
_KNOWN = {
    *("apiVersion", "kind", "resources", "components", "patches", "images", "configurations"),
    *("configMapGenerator", "secretGenerator"),
}


def render(folder: Path, *components: Path) -> list[Object]:
    """The objects of a kustomization, and of components put beside it."""
    said = _load(folder)
    objects = [each for name in said.get("resources", ()) for each in _resource(folder / name)]
    for component in (*(folder / name for name in said.get("components", ())), *components):
        objects += render(component)
    for generator in said.get("configMapGenerator", ()):
        data = dict(literal.split("=", 1) for literal in generator["literals"])
        _generate(objects, {"apiVersion": "v1", "kind": "ConfigMap"}, generator, data)
    for generator in said.get("secretGenerator", ()):
        files = dict(entry.split("=", 1) for entry in generator["files"])
        data = {key: base64.b64encode((folder / file).read_bytes()).decode() for key, file in files.items()}
        _generate(objects, {"apiVersion": "v1", "kind": "Secret", "type": "Opaque"}, generator, data)
    for patch in said.get("patches", ()):
        if "target" not in patch:
            objects.remove(_to_delete(objects, yaml.safe_load((folder / patch["path"]).read_text())))
            continue
        wanted = (patch["target"]["kind"], patch["target"]["name"])
        (target,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == wanted]
        for operation in yaml.safe_load((folder / patch["path"]).read_text()):
            apply(target, operation)
    for image in said.get("images", ()):
        for container in containers(objects):
            if container["image"].split(":")[0] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
    return objects


def files_of(folder: Path) -> set[str]:
    """The files that a kustomization names, itself among them."""
    said = _load(folder)
    named = {"kustomization.yaml", *said.get("configurations", ())}
    named |= {name for name in said.get("resources", ()) if not (folder / name).is_dir()}
    named |= {patch["path"] for patch in said.get("patches", ())}
    return named | {f.split("=")[-1] for g in said.get("secretGenerator", ()) for f in g["files"]}


def apply(target: Any, operation: dict[str, Any]) -> None:
    """One operation of a JSON patch (RFC 6902): test, replace or remove."""
    *way, last = operation["path"].strip("/").split("/")
    for step in way:
        target = target[int(step) if isinstance(target, list) else step]
    key = int(last) if isinstance(target, list) else last
    match operation["op"]:
        case "test":
            assert target[key] == operation["value"], operation
        case "replace":
            assert target[key] is not None, operation
            target[key] = copy.deepcopy(operation["value"])
        case "remove":
            del target[key]
        case other:
            raise AssertionError(f"kustomize.py does not know the operation {other!r}: {operation}")


def _to_delete(objects: list[Object], patch: Object) -> Object:
    assert patch["$patch"] == "delete"
    assert set(patch) == {"$patch", "apiVersion", "kind", "metadata"}
    wanted = (patch["kind"], patch["metadata"]["name"])
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == wanted]
    return found


def templates(objects: list[Object]) -> Iterator[Object]:
    """The templates of all pods: metadata and spec."""
    for each in objects:
        spec = each.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield spec["template"]


def containers(objects: list[Object]) -> Iterator[Object]:
    """All containers of all pods."""
    for template in templates(objects):
        yield from containers_of(template["spec"])


def containers_of(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def _load(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(said) <= _KNOWN, f"kustomize.py does not know {set(said) - _KNOWN}"
    return said


def _resource(path: Path) -> list[Object]:
    return render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))


def _generate(objects: list[Object], head: Object, generator: dict[str, Any], data: dict[str, str]) -> None:
    name = generator["name"]
    same = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (head["kind"], name)]
    match generator.get("behavior", "create"):
        case "create":
            assert not same, name
            objects.append({**head, "metadata": {"name": name}, "data": data})
        case "merge":
            same[0]["data"] |= data
        case "replace":
            same[0]["data"] = data
