"""Answers of the API, as plain JSON values. Every builder takes overrides; `MISSING` leaves a key out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

MISSING = object()
Json = dict[str, Any]


def keystone(keystone_id: int | None = 1, **overrides: Any) -> Json:
    return _with(
        {
            "id": keystone_id,
            "url": f"https://ed-{keystone_id}.cloud.example:5000/v3",
            "state": "INITIALIZED",
            "username": "admin",
            "password": "******",
            "keystone_federated_domain_id": "2b2798cceb87475e8eab1e711e5dbe46",
            "created_on": "2019-12-31 23:59:59",
        },
        overrides,
    )


def metrics_database(database_id: int = 1, **overrides: Any) -> Json:
    return _with(
        {
            "id": database_id,
            "host": "10.100.167.20",
            "port": 9097,
            "username": "metrics",
            "password": "******",
        },
        overrides,
    )


def region(region_id: Any, state: str = "ACTIVE", **overrides: Any) -> Json:
    """A region with a keystone of its own (id + 1000) and no metrics database."""
    keystone_id = overrides.get("keystone_id", int(region_id) + 1000)
    return _with(
        {
            "id": region_id,
            "display_name": f"Region {region_id}",
            "keystone_name": f"ED-{keystone_id}",
            "slug": f"region-{region_id}",
            "state": state,
            "country": "LU",
            "zone": "EMEA",
            "endpoint_type": "public",
            "external_network_id": "c843c3e6ef4d4b928db2e16ac05c5650",
            "novnc_proxy_url": "https://console.example:6080/",
            "serial_proxy_url": None,
            "spice_proxy_url": None,
            "created_on": "2019-12-31T23:59:59",
            "keystone_id": keystone_id,
            "keystone": keystone(keystone_id if isinstance(keystone_id, int) else 1),
            "has_kvm": True,
            "has_baremetal": False,
            "has_basic_vm": False,
            "has_sfs": False,
            "has_ddos": False,
            "vlan_physical_network": "br-ex",
            "metrics_database_id": None,
            "metrics_database": None,
            "access_level": "core",
            "has_k8s": True,
            "has_ai": True,
            "has_ai_gpu": False,
            "available_volume_types": ["standard", "ssd_hiiops"],
        },
        overrides,
    )


def answer(regions: Iterable[Any], **overrides: Any) -> Json:
    listed = list(regions)
    return _with({"count": len(listed), "results": listed}, overrides)


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def _with(fields: Json, overrides: Json) -> Json:
    return {name: value for name, value in (fields | overrides).items() if value is not MISSING}
