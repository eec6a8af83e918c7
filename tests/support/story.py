"""A story of two sources, which every database in a test of questions gets."""

from __future__ import annotations

from tests.support.builders import keystone, metrics_database, region
from tests.support.history import History, failure


def tell(history: History) -> None:
    """Minutes after NOON: what happens."""
    up, new = keystone(9, state="INITIALIZED"), keystone(9, state="NEW")
    one = region(1, keystone_id=9, keystone=up, display_name="Luxembourg-2", slug="luxembourg-2")
    two = region(2, keystone_id=9, keystone=new, zone="APAC", country="SG")
    three, five = region(3, "NEW"), region(5)
    four = region(4, has_ai_gpu=True, metrics_database_id=7, metrics_database=metrics_database(7))
    active, away = three | {"state": "ACTIVE"}, three | {"state": "MAINTENANCE"}
    unavailable = failure("http_status", http_status=503, message="down for a while")
    minutes = {
        1: [one, two, three, four, five],  # 1: baseline
        2: [one, two, active, four, five],  # 2: NEW → ACTIVE, direct
        3: unavailable,  # 3
        4: unavailable,
        5: [one, two, away, four, five],  # 4: ACTIVE → MAINTENANCE, across failures
        6: [one, two, away, four],  # 5: 5 is gone
        7: [one],  # 6: held twice
        8: [one],
        9: [one],  # 7: and believed
        10: [
            one | {"state": None},
            two,
            away,
            four,
        ],  # 8: others came back; the keystone's witness is unusable
        11: [one, two, away, four],  # 9: the witness is back
    }
    for minute, said in minutes.items():
        history.poll(said, at=60.0 * minute)
    history.change(api_key="key-two")
    history.poll([one, two, away], at=60 * 12)  # 10: another key does not see 4
    history.change(api_key="key-one")
    history.poll([one, two, away, four], at=60 * 13)  # 11
    six = region(6, available_volume_types=None, metrics_database_id=7, metrics_database=None)
    history.poll([one, two, away, four, six], at=60 * 14)  # 12: 6 appears
    gone_on = one | {"state": "MAINTENANCE"}
    four_moved = four | {"metrics_database": metrics_database(7, port=1)}
    history.poll(
        [gone_on, two, away, four_moved, six | {"available_volume_types": []}], at=60 * 25
    )  # 13: 1 across a gap
    history.poll([gone_on, two, active, four_moved, six], at=60 * 26)  # 14


def tell_other(history: History) -> None:
    """Another platform, with the same ids for other regions."""
    history.poll([region(1, "DELETED"), region(3, "NEW"), region(77, slug="only-here")], at=60)
    history.poll([region(1, "DELETED"), region(3), region(77, slug="only-here")], at=120)
