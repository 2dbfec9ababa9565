-- Version 1. Ids are text, so that `sqlite3` shows what the API shows. Times are milliseconds since 1970.
CREATE TABLE attempts (
    seq           INTEGER PRIMARY KEY,
    client_id     INTEGER NOT NULL,
    webhook_id    TEXT    NOT NULL,
    event_id      TEXT    NOT NULL,
    number        INTEGER NOT NULL, -- 0: held before any attempt
    phone         TEXT    NOT NULL,
    message_id    TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    body          BLOB    NOT NULL,
    tries         INTEGER NOT NULL,
    outcome       TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    http_status   INTEGER,
    response      TEXT,
    error         TEXT,
    created_at    INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    latency_ms    INTEGER NOT NULL,
    next_retry_at INTEGER,
    UNIQUE (webhook_id, event_id, number)
);

-- Where each event stands: its attempt with the highest number.
CREATE TABLE events (
    client_id  INTEGER NOT NULL,
    webhook_id TEXT    NOT NULL,
    event_id   TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    status     TEXT    NOT NULL,
    PRIMARY KEY (webhook_id, event_id)
) WITHOUT ROWID;
CREATE INDEX events_by_status ON events (webhook_id, status, event_id);
CREATE INDEX events_failed ON events (client_id, event_id) WHERE status = 'failed';

CREATE TABLE webhook_state (
    client_id       INTEGER NOT NULL,
    webhook_id      TEXT    NOT NULL PRIMARY KEY,
    failure_count   INTEGER NOT NULL,
    last_error      TEXT,
    last_error_at   INTEGER NOT NULL,
    last_success_at INTEGER,
    last_failed_at  INTEGER, -- when an event was last given up
    last_attempt_at INTEGER NOT NULL
) WITHOUT ROWID;

-- For people with `sqlite3`.
CREATE VIEW audit AS
SELECT datetime(started_at / 1000, 'unixepoch') AS at, client_id, webhook_id, message_id, kind, number AS attempt,
       outcome, status, http_status, latency_ms, error,
       datetime(next_retry_at / 1000, 'unixepoch') AS next_retry_at
FROM attempts ORDER BY seq;
