"""Worlds to try the collector with: one that tells a story, and any number of random ones."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from collector.simulator.world import Life, Track, World

KEY = "1234$r7e5e1le7k3y"
"""Sees all regions, like the key of a reseller."""
CLIENT_KEY = "5678$c11en7k3y"
"""Sees ACTIVE regions only, like the key of a regular client."""

KEPT_REGIONS = 50_000
"""Number of regions of random worlds that are kept in memory, half a kilobyte each; dropped worlds are made again."""

# id, display name, country, zone, GPU
_PLACES = (
    (76, "Luxembourg-2", "LU", "EMEA", True),
    (148, "Luxembourg-3", "LU", "EMEA", True),
    (38, "Frankfurt", "DE", "EMEA", False),
    (180, "Frankfurt-2", "DE", "EMEA", True),
    (196, "London-2", "GB", "EMEA", False),
    (184, "Chester", "GB", "EMEA", True),
    (164, "Sines-2", "PT", "EMEA", True),
    (176, "Sines-3", "PT", "EMEA", True),
    (172, "San Jose", "US", "AMERICAS", False),
    (160, "Paris-3", "FR", "EMEA", False),
    (26, "Manassas", "US", "AMERICAS", True),
    (30, "Singapore", "SG", "APAC", True),
    (98, "Helsinki", "FI", "EMEA", True),
    (116, "Incheon", "KR", "APAC", True),
)


def story(start: datetime) -> World:
    """About three weeks with everything that a collector must handle correctly.

    At the end Luxembourg-2 is in maintenance, Sines-3 has opened, and the deletion of Paris-3 fails.
    """
    world = World()
    regions: dict[int, Track] = {}
    born = start - timedelta(days=400)
    for number, (region_id, name, country, zone, gpu) in enumerate(_PLACES):
        keystone_id = 8 + number // 2
        if keystone_id not in world.keystones:
            world.keystones[keystone_id] = Track().set(born, **_keystone(keystone_id, "INITIALIZED"))
        database_id = 1 + number % 3
        world.databases.setdefault(database_id, Track().set(born, **_database(database_id)))
        fields = _region(name, country, zone, keystone_id, database_id, gpu=gpu)
        regions[region_id] = Track().set(born, state="ACTIVE", **fields)

    def day(days: float) -> datetime:
        return start + timedelta(days=days)

    # A region is built: its keystone comes up, it is opened, it gains GPUs.
    world.keystones[40] = Track().set(day(1.30), **_keystone(40, "NEW")).set(day(2.10), state="INITIALIZED")
    built = _region("Sines-3", "PT", "EMEA", 40, 1, gpu=False)
    regions[176] = Track().set(day(1.31), state="NEW", **built).set(day(18.6), state="ACTIVE", has_ai=True)
    regions[176].set(day(19.4), has_ai_gpu=True)
    # Another keystone fails and is tried again.
    world.keystones[41] = (
        Track().set(day(3.2), **_keystone(41, "NEW")).set(day(3.9), state="INITIALIZATION_FAILED")
    )
    world.keystones[41].set(day(6.05), state="INITIALIZED")
    regions[204] = Track().set(day(3.21), state="NEW", **_region("Mumbai", "IN", "APAC", 41, 2, gpu=True))
    regions[204].set(day(9.7), state="ACTIVE")
    # Maintenance: short, long, and one that continues.
    regions[38].set(day(4.52), state="MAINTENANCE").set(day(4.93), state="ACTIVE")
    regions[184].set(day(8.1), state="MAINTENANCE").set(day(11.4), state="ACTIVE")
    regions[76].set(day(19.87), state="MAINTENANCE")
    # A change during the outage, one during the night without a collector: their windows are wide.
    regions[172].set(day(10.45), state="MAINTENANCE").set(day(13.2), state="ACTIVE")
    # A region that vanishes and comes back.
    regions[30].vanish(day(5.6)).come_back(day(7.3))
    # A deletion that fails, and one that succeeds.
    regions[160].set(day(12.2), state="DELETING").set(day(12.9), state="DELETION_FAILED")
    regions[196].set(day(14.1), state="DELETING").set(day(15.3), state="DELETED").vanish(day(17.2))
    # Changes other than of the state: a rename, a new volume type, an undocumented field.
    regions[98].set(day(9.1), display_name="Helsinki-1", slug="helsinki-1")
    regions[148].set(day(13.8), available_volume_types=["standard", "ssd_hiiops", "ssd_lowlatency"])
    regions[116].set(day(16.4), sustainability={"renewable": True})
    world.regions.update(regions)
    return world


def random_world(seed: int, start: datetime, *, regions: int, mean_hold: timedelta, until: datetime) -> World:
    """A world of any size; every state lasts `mean_hold` on average, and never less than a tenth of it."""
    world = World()
    for number in range(1, regions + 1):
        keystone_id, database_id = 1 + number // 3, 1 + number // 5
        if keystone_id not in world.keystones:
            world.keystones[keystone_id] = Track([start], [_shared_keystone(keystone_id)])
        if database_id not in world.databases:
            world.databases[database_id] = Track([start], [_shared_database(database_id)])
        fields = _shared_region(number, keystone_id, database_id)
        world.regions[number] = Life(fields, (seed << 20) + number, start, until, mean_hold)
    return world


def random_worlds(
    seed: int, start: datetime, *, regions: int, mean_hold: timedelta, until: datetime
) -> Callable[[str], World]:
    """A world for each source: always the same one, though only the newest are kept in memory."""

    @functools.lru_cache(max(1, KEPT_REGIONS // regions))
    def world_of(source: str) -> World:
        world_seed = seed + zlib.crc32(source.encode())
        return random_world(world_seed, start, regions=regions, mean_hold=mean_hold, until=until)

    return world_of


@functools.lru_cache(KEPT_REGIONS)
def _shared_region(number: int, keystone_id: int, database_id: int) -> dict[str, Any]:
    _, name, country, zone, gpu = _PLACES[number % len(_PLACES)]
    return _region(f"{name}-{number}", country, zone, keystone_id, database_id, gpu=gpu)


@functools.lru_cache(KEPT_REGIONS)
def _shared_keystone(keystone_id: int) -> dict[str, Any]:
    return _keystone(keystone_id, "INITIALIZED")


@functools.lru_cache(KEPT_REGIONS)
def _shared_database(database_id: int) -> dict[str, Any]:
    return _database(database_id)


def _region(
    name: str, country: str, zone: str, keystone_id: int, database_id: int, *, gpu: bool
) -> dict[str, Any]:
    slug = name.lower().replace(" ", "-")
    return {
        "display_name": name,
        "slug": slug,
        "country": country,
        "zone": zone,
        "access_level": "core",
        "endpoint_type": "public",
        "external_network_id": f"c843c3e6ef4d4b928db2{keystone_id:012x}",
        "vlan_physical_network": "br-ex",
        "created_on": "2019-12-31T23:59:59",
        "keystone_id": keystone_id,
        "keystone_name": f"ED-{keystone_id}",
        "metrics_database_id": database_id,
        "novnc_proxy_url": f"https://console.{slug}.example:6080/",
        "serial_proxy_url": f"wss://console.{slug}.example:6083/",
        "spice_proxy_url": None,
        "has_ai": gpu,
        "has_ai_gpu": gpu,
        "has_baremetal": gpu,
        "has_basic_vm": True,
        "has_ddos": True,
        "has_k8s": True,
        "has_kvm": True,
        "has_sfs": gpu,
        "available_volume_types": ["standard", "ssd_hiiops"],
        "ddos_endpoint_id": None,
        "ddos_endpoint": None,
        "task_id": None,
    }


def _keystone(keystone_id: int, state: str) -> dict[str, Any]:
    return {
        "state": state,
        "url": f"https://ed-{keystone_id}.cloud.example:5000/v3",
        "username": "admin",
        "password": "******",
        "keystone_federated_domain_id": f"2b2798cceb87475e8eab{keystone_id:012x}",
        "created_on": "2019-12-31 23:59:59",
    }


def _database(database_id: int) -> dict[str, Any]:
    return {"host": f"10.100.167.{database_id}", "port": 9097, "username": "metrics", "password": "******"}
