"""A pack for an auditor: one ZIP with everything that a claim about a time depends on, and how to check it.

The listings come from `queries.sql`, which is in the pack. `check.py` checks a pack and shares no code with the
collector. `README.txt` explains both.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from importlib import resources
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from collector import __version__
from collector.audit.findings import Verification
from collector.audit.pack.content import anchor_rows, claim_row, claims_of, limits_of
from collector.audit.pack.content import page as first_page
from collector.audit.verify import verify_source
from collector.clock import time_text
from collector.database.types import UtcTime
from collector.errors import IntegrityError, UsageError
from collector.gcore import jsontext
from collector.gcore.document import Document
from collector.gcore.listing import listing_of
from collector.inventory.chain import plain
from collector.inventory.observation import gap_limit
from collector.reports.words import show_time
from collector.store.amendments import beginning
from collector.store.payloads import Reader
from collector.store.rederive import Progress
from collector.store.sources import source_id_of
from collector.store.tables import observations

_o = observations.c
FORMAT = 2
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""A fixed time, so that the same content gives the same bytes."""

Json = dict[str, Any]


def build(
    connection: sa.Connection,
    source: str,
    start: datetime,
    end: datetime,
    *,
    made_at: datetime,
    regions: Collection[int] | None = None,
    progress: Progress | None = None,
) -> tuple[bytes, Verification]:
    """The bytes of the ZIP, and the verification of the source, both from one state of the database.

    `regions`: only what concerns these. Raises IntegrityError if the history is not good, UsageError if nothing was
    observed before the end.
    """
    verified = verify_source(connection, source, progress=progress)
    if verified.verdict != "good":
        raise IntegrityError(
            f"the history of source {source!r} is {verified.verdict}, so nothing was packed: "
            "`collector audit verify` shows what is wrong"
        )
    if verified.begins is not None and start < verified.begins.begins_at:
        raise UsageError(
            f"the history of {source} begins at {show_time(verified.begins.begins_at)}; everything before was pruned. "
            "Choose a time from then on"
        )
    source_id = source_id_of(connection, source)
    first_at = connection.scalar(
        sa.select(sa.func.min(_o.first_at, type_=UtcTime())).where(_o.source_id == source_id)
    )
    if verified.begins is None and first_at is not None and end <= first_at:
        raise UsageError(
            f"the history of {source} begins at {show_time(first_at)}: nothing is known about the time before. "
            "Choose a time that ends later"
        )
    content = _Content(connection, source_id, start, end, regions)
    files = content.files()
    extent = content.first_seq, content.up_to
    claims = claims_of(connection, source_id, regions, extent, start, end)
    limited = limits_of(connection, source_id, claims, extent, verified.newest_seq)
    anchored = anchor_rows(connection, source_id, content.first_seq)
    facts: Json = {
        "format": FORMAT,
        "source": source,
        "from": time_text(start),
        "to": time_text(end),
        "regions": None if regions is None else sorted(regions),
        "answers_up_to": content.up_to,
        "head": {"seq": verified.newest_seq, "digest": verified.head},
        "made_at": time_text(made_at),
        "collector_version": __version__,
        "verification": asdict(verified),
    }
    which = (
        "all regions and keystones"
        if regions is None
        else f"region{'s' * (len(regions) > 1)} {', '.join(map(str, sorted(regions)))}"
    )
    page = _resource("README.txt").format(
        source=source,
        start=facts["from"],
        end=facts["to"],
        which=which,
        head=verified.head,
        head_seq=verified.newest_seq,
        rests_on=content.rests_on,
        made_at=facts["made_at"],
        version=__version__,
        verdict=verified.verdict,
        observations=verified.observations,
        payloads=verified.payloads,
        derived_rows=verified.derived_rows,
    )
    files |= {
        "claims.jsonl": _lines(claim_row(run) for run in claims),
        "anchors.jsonl": _lines(anchored),
        "index.html": first_page(facts, limited, anchored, content.gaps).encode(),
        "README.txt": page.encode(),
        "queries.sql": _resource("queries.sql").encode(),
        "check.py": _resource("check.py").encode(),
    }
    return _zip(facts, files), verified


class _Content:
    """The listings of one pack."""

    def __init__(
        self,
        connection: sa.Connection,
        source_id: int,
        start: datetime,
        end: datetime,
        regions: Collection[int] | None,
    ) -> None:
        self._connection, self._regions = connection, regions
        self._answers = Reader(connection, source_id)
        self._bound: Json = {
            "source": source_id,
            "from_at": start,
            "to_at": end,
            "all_kinds": int(regions is None),
            "only": "".join(f",{region}" for region in regions or ()) + ",",
        }
        begins = beginning(connection, source_id)
        self._bound["begins_seq"] = begins.begins_seq if begins else 1
        self._transitions = [t for t in self._ask("transitions") if self._is_about(t)]
        self._bound["last_seq"] = max((t["seq"] for t in self._transitions), default=1)
        extent = self._ask("extent")[0]
        if extent["up_to"] is None:
            raise UsageError("there is no answer to pack: no poll has succeeded yet")
        if begins is not None and extent["first_seq"] is None:
            why = self._needs(begins.begins_at)
            raise UsageError(f"a pack from {time_text(start)} on would need answers that were pruned: {why}")
        self.first_seq: int = extent["first_seq"]
        self.up_to: int = extent["up_to"]
        self._bound |= extent
        self.rests_on = self.up_to
        """The observation up to which a head has to cover the pack. Set by `files`, like the gaps."""
        self.gaps: list[Json] = []

    def files(self) -> dict[str, bytes]:
        rows = self._ask("observations")
        for row in rows:
            row["missing"] = None if row["missing"] is None else json.loads(row["missing"])
        self.gaps = self._gaps(rows)
        if rows[self.up_to - rows[0]["seq"]]["first_at"] < time_text(self._bound["to_at"]):
            self.rests_on = rows[-1]["seq"]
        return {
            "transitions.jsonl": _lines(self._transitions),
            "unseen.jsonl": _lines(row for row in self._ask("unseen") if self._is_about(row)),
            "gaps.jsonl": _lines(self.gaps),
            "observations.jsonl": _lines(rows),
            "answers.jsonl": _lines(self._answer(row["address"]) for row in self._ask("answers")),
            "amendments.jsonl": _lines(self._ask("amendments")),
            "redacted.jsonl": _lines(self._ask("redacted")),
        }

    def _needs(self, begins_at: datetime) -> str:
        """What of the pack rests on pruned answers, and what to do."""
        choice = f"name {'other regions' if self._regions else 'regions'} with --region"
        horizon = time_text(begins_at)
        early = [
            (t["observed_at"], f"{t['entity']} {t['entity_id']} {t['kind']}")
            for t in self._transitions
            if t["not_before"] is None or t["not_before"] < horizon
        ]
        for u in self._ask("unseen"):
            if u["from_at"] < horizon and self._is_about(u):
                entity = f"{u['entity']} {u['entity_id']}"
                if u["until_at"] is None:
                    return f"{entity} has not been shown since then; {choice}"
                early.append((u["until_at"], f"{entity} was shown again"))
        if not early:
            return f"no answer before that time and after the prune shows all that existed; {choice}"
        at, what = max(early, key=itemgetter(0))
        return f"{what} at {at}; choose a time after {at}, or {choice}"

    def _gaps(self, observations: list[Json]) -> list[Json]:
        """The gaps of the requested time. An open gap's duration changes from day to day; it is that of this time, or
        none.
        """
        gaps = self._ask("gaps")
        newest = [row for row in observations if row["outcome"] != "failed"][-1]
        age = self._bound["to_at"] - datetime.fromisoformat(newest["last_at"])
        intervals = [
            timedelta(milliseconds=row["expected_interval_ms"]) for row in (newest, observations[-1])
        ]
        is_open = age > gap_limit(*intervals)
        return [
            gap if gap["until_at"] else gap | {"seconds": None} for gap in gaps if gap["until_at"] or is_open
        ]

    def _is_about(self, row: Mapping[str, Any]) -> bool:
        return self._regions is None or (row["entity"] == "region" and row["entity_id"] in self._regions)

    def _answer(self, address: str) -> Json:
        document: Document = self._answers.load(address)
        records: list[Json] = []
        # An unusable record may belong to any region, or make it uncertain which entities exist.
        unusable = {rejected.position for rejected in listing_of(document).rejected}
        for position, record in enumerate(document.records):
            if self._regions is None or position in unusable or record.id in self._regions:
                records.append({"text": record.text})
            else:
                records.append({"hash": hashlib.sha256(record.text.encode()).hexdigest()})
        return {"address": address, "envelope": jsontext.dumps(dict(document.envelope)), "records": records}

    def _ask(self, name: str) -> list[Json]:
        """Rows of a query of `queries.sql`, times as text."""
        query = sa.text(_queries()[name])
        bound = {n: v for n, v in self._bound.items() if f":{n}" in query.text}
        times = [sa.bindparam(n, type_=UtcTime()) for n in ("from_at", "to_at") if n in bound]
        rows = self._connection.execute(query.bindparams(*times), bound).mappings()
        return [{str(k): plain(v) for k, v in row.items()} for row in rows]


def _queries() -> dict[str, str]:
    parts = re.split(r"^-- name: (\w+)\n", _resource("queries.sql"), flags=re.MULTILINE)
    return {name: text.strip().rstrip(";") for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _resource(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(dict(row)) + "\n" for row in rows).encode("ascii")


def _zip(facts: Json, files: Mapping[str, bytes]) -> bytes:
    facts["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    whole = {"pack.json": json.dumps(facts, indent=2, default=time_text).encode("ascii"), **files}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(whole):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, whole[name])
    return packed.getvalue()
