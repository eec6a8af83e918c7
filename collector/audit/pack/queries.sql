-- The queries for the contents of an audit pack. :source is the source's number, :from_at and :to_at the requested time.
-- :first_seq and :up_to are the first and the last observation whose answers are in the pack, :last_seq is the last
-- transition's observation. :all_kinds is 1 for a pack of everything, 0 for one of some regions; :only are the ids of these,
-- each between commas. :begins_seq is the observation with which the history begins, 1 if it was never pruned.

-- name: transitions
-- Transitions whose window overlaps the requested time. Without not_before, observed_at decides.
SELECT t.entity, t.entity_id, t.kind, t.from_state, t.to_state, t.not_before, t.observed_at, t.basis,
    t.first_missing_at, t.seq
FROM state_transitions t
WHERE t.source_id = :source AND t.observed_at >= :from_at
    AND COALESCE(t.not_before, t.observed_at) < :to_at
ORDER BY t.seq, t.entity DESC, t.entity_id;

-- name: unseen
-- Times in which something present was not shown.
SELECT u.entity, u.entity_id, u.from_at, u.missed_at, u.until_at, u.cause, u.shown_seq, u.missed_seq, u.until_seq
FROM unseen u
WHERE u.source_id = :source AND u.from_at < :to_at
    AND (u.until_at IS NULL OR u.until_at >= :from_at)
ORDER BY u.missed_seq, u.entity DESC, u.entity_id;

-- name: gaps
-- Times without any successful poll.
SELECT g.from_at, g.until_at, g.seconds, g.cause, g.error, g.failed_polls
FROM coverage_gaps g JOIN sources s ON s.name = g.source
WHERE s.id = :source AND g.from_at < :to_at AND (g.until_at IS NULL OR g.until_at > :from_at)
ORDER BY g.from_at;

-- name: extent
-- The observations at which the answers of the pack begin and end. They are complete ones, which show what existed and
-- prove that nothing else did. The pack begins with the last complete one that is early enough for everything it says:
-- the last successful one before the requested time, the one of each transition's not_before (the very first if there is
-- no not_before, or if that one was pruned), and the last one that showed what was unseen. There is no such beginning if
-- it was pruned. The pack ends with the first complete one that was asked for at the end of that time or later, so that no
-- later transition has a window that overlaps the time; otherwise with the newest.
WITH hidden AS NOT MATERIALIZED (
    SELECT u.from_at, u.until_at, u.shown_seq, u.missed_seq, u.until_seq FROM unseen u
    WHERE u.source_id = :source AND (1 = :all_kinds OR u.entity = 'region'
        AND CAST(:only AS TEXT) LIKE '%,' || CAST(u.entity_id AS TEXT) || ',%')
), sure AS NOT MATERIALIZED (
    SELECT b.seq, b.first_asked_at, b.last_asked_at FROM observations b
    WHERE b.source_id = :source AND b.outcome = 'ok' AND b.seq >= :begins_seq
        AND NOT EXISTS (
            SELECT 1 FROM withheld_absences w
            WHERE w.source_id = b.source_id AND w.seq = b.seq AND (1 = :all_kinds OR w.entity = 'region'
                AND (w.scope = 'all' OR CAST(:only AS TEXT) LIKE '%,' || w.scope || ',%'))
        )
        AND NOT EXISTS (
            SELECT 1 FROM hidden h WHERE h.missed_seq <= b.seq AND (h.until_seq IS NULL OR h.until_seq > b.seq)
        )
)
SELECT COALESCE((
        SELECT MAX(seq) FROM sure WHERE seq <= (
            SELECT MIN(seq) FROM (
                SELECT COALESCE(MAX(o.seq), 1) AS seq FROM observations o
                WHERE o.source_id = :source AND o.outcome <> 'failed' AND o.first_at < :from_at
                UNION ALL
                SELECT MIN(COALESCE(o.seq, 1)) FROM state_transitions t LEFT JOIN observations o
                    ON o.source_id = t.source_id AND o.last_asked_at = t.not_before AND o.seq < t.seq
                WHERE t.source_id = :source AND t.observed_at >= :from_at
                    AND COALESCE(t.not_before, t.observed_at) < :to_at
                    AND (1 = :all_kinds OR t.entity = 'region'
                        AND CAST(:only AS TEXT) LIKE '%,' || CAST(t.entity_id AS TEXT) || ',%')
                UNION ALL
                SELECT MIN(h.shown_seq) FROM hidden h
                WHERE h.from_at < :to_at AND (h.until_at IS NULL OR h.until_at >= :from_at)
            ) AS candidates
        )
    ), CASE WHEN CAST(:begins_seq AS BIGINT) = 1 THEN 1 END) AS first_seq,
    COALESCE(
        (SELECT MIN(seq) FROM sure WHERE seq >= :last_seq AND first_asked_at >= :to_at AND last_asked_at >= :to_at),
        (SELECT MAX(o.seq) FROM observations o WHERE o.source_id = :source AND o.outcome <> 'failed')
    ) AS up_to;

-- name: observations
-- All observations from the beginning to the newest, so that the head covers them.
SELECT o.seq, o.outcome, o.first_at, o.last_at, o.polls, o.listed, o.declared, o.rejected, o.missing, o.variants, o.cause,
    o.http_status, o.exception_class, o.message, o.request_id, o.first_asked_at, o.last_asked_at,
    o.expected_interval_ms, o.longest_interval_ms, o.clock_offset_ms, o.payload, o.collector_version, o.recorded_at,
    o.previous_digest, o.opening_digest, o.digest, o.paging, o.age_ms, o.amended, w.key_fingerprint, w.base_url, w.auth_scheme
FROM observations o JOIN observers w ON w.source_id = o.source_id AND w.id = o.observer_id
WHERE o.source_id = :source AND o.seq >= :first_seq
ORDER BY o.seq;

-- name: amendments
-- All prunes and redactions ever made: later observations hold the digest of the newest.
SELECT a.number, a.kind, a.made_at, a.made_by, a.at_seq, a.facts, a.previous_digest, a.digest FROM amendments a
WHERE a.source_id = :source
ORDER BY a.number;

-- name: redacted
-- All answers that were changed after they were recorded: their address, that of what remains, and the amendment.
SELECT p.address, p.content, p.redaction FROM payloads p
WHERE p.source_id = :source AND (p.content IS NOT NULL OR p.redaction IS NOT NULL)
ORDER BY p.address;

-- name: answers
-- The distinct answers of these observations.
SELECT DISTINCT o.payload AS address FROM observations o
WHERE o.source_id = :source AND o.seq BETWEEN :first_seq AND :up_to AND o.payload IS NOT NULL
ORDER BY o.payload;
