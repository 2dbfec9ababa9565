-- Version 4. The sums of each webhook and hour, by the ends of the attempts. Without them a request for statistics reads
-- all attempts of the webhook. Triggers keep the sums, so that an attempt and its part of a sum are written or deleted
-- together. `latency_max` does not go down when an attempt is deleted or replaced.
CREATE TABLE webhook_hours (
    client_id   INTEGER NOT NULL,
    webhook_id  TEXT    NOT NULL,
    hour        INTEGER NOT NULL, -- its first millisecond
    attempts    INTEGER NOT NULL,
    delivered   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    latency_sum INTEGER NOT NULL,
    latency_max INTEGER NOT NULL,
    body_bytes  INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, hour)
) WITHOUT ROWID;

INSERT INTO webhook_hours
SELECT client_id, webhook_id, (started_at + latency_ms) / 3600000 * 3600000 AS hour, count(*), sum(status = 'delivered'),
       sum(status = 'failed'), sum(latency_ms), max(latency_ms), sum(length(body))
FROM attempts
WHERE outcome NOT IN ('held', 'webhook_gone')
GROUP BY webhook_id, hour;

CREATE TRIGGER webhook_hours_add AFTER INSERT ON attempts
WHEN NEW.outcome NOT IN ('held', 'webhook_gone')
BEGIN
    INSERT INTO webhook_hours VALUES (
        NEW.client_id, NEW.webhook_id, (NEW.started_at + NEW.latency_ms) / 3600000 * 3600000, 1, NEW.status = 'delivered',
        NEW.status = 'failed', NEW.latency_ms, NEW.latency_ms, length(NEW.body))
    ON CONFLICT DO UPDATE SET
        attempts = attempts + 1,
        delivered = delivered + excluded.delivered,
        failed = failed + excluded.failed,
        latency_sum = latency_sum + excluded.latency_sum,
        latency_max = max(latency_max, excluded.latency_max),
        body_bytes = body_bytes + excluded.body_bytes;
END;

CREATE TRIGGER webhook_hours_remove AFTER DELETE ON attempts
WHEN OLD.outcome NOT IN ('held', 'webhook_gone')
BEGIN
    UPDATE webhook_hours SET
        attempts = attempts - 1,
        delivered = delivered - (OLD.status = 'delivered'),
        failed = failed - (OLD.status = 'failed'),
        latency_sum = latency_sum - OLD.latency_ms,
        body_bytes = body_bytes - length(OLD.body)
    WHERE webhook_id = OLD.webhook_id AND hour = (OLD.started_at + OLD.latency_ms) / 3600000 * 3600000;
    DELETE FROM webhook_hours
    WHERE webhook_id = OLD.webhook_id AND hour = (OLD.started_at + OLD.latency_ms) / 3600000 * 3600000 AND attempts <= 0;
END;

-- An attempt that a crash made twice is replaced by the later one.
CREATE TRIGGER webhook_hours_replace_old AFTER UPDATE ON attempts
WHEN OLD.outcome NOT IN ('held', 'webhook_gone')
BEGIN
    UPDATE webhook_hours SET
        attempts = attempts - 1,
        delivered = delivered - (OLD.status = 'delivered'),
        failed = failed - (OLD.status = 'failed'),
        latency_sum = latency_sum - OLD.latency_ms,
        body_bytes = body_bytes - length(OLD.body)
    WHERE webhook_id = OLD.webhook_id AND hour = (OLD.started_at + OLD.latency_ms) / 3600000 * 3600000;
END;

CREATE TRIGGER webhook_hours_replace_new AFTER UPDATE ON attempts
WHEN NEW.outcome NOT IN ('held', 'webhook_gone')
BEGIN
    INSERT INTO webhook_hours VALUES (
        NEW.client_id, NEW.webhook_id, (NEW.started_at + NEW.latency_ms) / 3600000 * 3600000, 1, NEW.status = 'delivered',
        NEW.status = 'failed', NEW.latency_ms, NEW.latency_ms, length(NEW.body))
    ON CONFLICT DO UPDATE SET
        attempts = attempts + 1,
        delivered = delivered + excluded.delivered,
        failed = failed + excluded.failed,
        latency_sum = latency_sum + excluded.latency_sum,
        latency_max = max(latency_max, excluded.latency_max),
        body_bytes = body_bytes + excluded.body_bytes;
END;
