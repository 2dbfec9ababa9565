-- Version 2. Failures by their end, to count those after a success that is written late; see
-- `fold_into_webhook_state` in write.rs.
CREATE INDEX attempts_failed ON attempts (webhook_id, started_at + latency_ms)
    WHERE status <> 'delivered' AND outcome NOT IN ('held', 'webhook_gone');

-- For people with `sqlite3`.
DROP VIEW audit;
CREATE VIEW audit AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at, client_id, webhook_id, event_id,
       message_id, kind, number AS attempt, outcome, status, http_status, latency_ms, error,
       strftime('%Y-%m-%dT%H:%M:%fZ', next_retry_at / 1000.0, 'unixepoch') AS next_retry_at
FROM attempts ORDER BY seq;
