CREATE TABLE webhooks (
    id        uuid    PRIMARY KEY,
    client_id bigint  NOT NULL,
    phone     text    NOT NULL UNIQUE,
    url       text    NOT NULL,
    secret    bytea   NOT NULL,
    is_active boolean NOT NULL DEFAULT true
);

-- One row per attempt.
CREATE TABLE attempts (
    webhook_id  uuid        NOT NULL,
    event_id    uuid        NOT NULL,
    number      smallint    NOT NULL,
    client_id   bigint      NOT NULL,
    message_id  text        NOT NULL,
    body        text        NOT NULL,
    status      text        NOT NULL,
    http_status smallint,
    response    text,
    error       text,
    started_at  timestamptz NOT NULL,
    latency_ms  integer     NOT NULL,
    PRIMARY KEY (webhook_id, event_id, number)
);
