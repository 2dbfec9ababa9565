#!/usr/bin/env python3
"""Writes the dashboards of this folder: `deploy/grafana/make.py`. With --check it only compares them.

A dashboard is a list of panels, each with its queries. What all of them share stands here once.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WIDTH = 24
JOB = 'job=~"$job"'
NATS = 'job=~"$nats_job"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

ONE_WEBHOOK = """\
No series has a webhook, a client or a number in it, so these panels show all webhooks together.

**One webhook** is on the page of wahook itself (`/`, "Webhooks"), and in the API:
`GET /api/webhooks/{webhook_id}` has its state, `…/stats` its figures, `…/events` each delivery with its attempts.
"""


def rate(metric, by="", labels=""):
    """Events per second, over all nodes."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({metric}{{{selector(labels)}}}[$__rate_interval]))"


def quantile(share, metric, by="", labels=""):
    """The time within which this share of events ended, in seconds."""
    group = f"le, {by}" if by else "le"
    inner = f"rate({metric}_bucket{{{selector(labels)}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({group}) ({inner}))"


def selector(labels):
    return f"{JOB}, {labels}" if labels else JOB


def panel(title, unit, *queries, about="", kind="timeseries", width=8, height=7):
    """A panel; each query is a text, or a pair of a text and its legend."""
    targets = []
    for index, query in enumerate(queries):
        text, legend = query if isinstance(query, tuple) else (query, "")
        targets.append({
            "refId": chr(ord("A") + index), "datasource": SOURCE, "expr": text,
            "legendFormat": legend or "__auto", "instant": kind == "stat",
        })
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"} if kind == "stat" else {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return {
        "title": title, "description": about, "type": kind, "datasource": SOURCE, "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "custom": {} if kind == "stat" else {"fillOpacity": 10}}, "overrides": []},
        "options": options, "gridPos": {"w": width, "h": height},
    }


def stat(title, unit, query, about=""):
    return panel(title, unit, query, about=about, kind="stat", width=4, height=4)


def text(content):
    return {"title": "", "type": "text", "options": {"mode": "markdown", "content": content}, "gridPos": {"w": WIDTH, "h": 5}}


def placed(panels):
    """The panels with a place for each, row by row."""
    x = y = row = 0
    for number, one in enumerate(panels, 1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, row = 0, y + row, 0
        one["id"] = number
        one["gridPos"] = {"x": x, "y": y} | place
        x, row = x + place["w"], max(row, place["h"])
    return panels


def variable(name, label, query):
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
        "definition": query, "includeAll": True, "multi": True, "allValue": ".*", "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard(uid, title, panels, with_nats=False):
    variables = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        variable("job", "Job", "label_values(wahook_build_info, job)"),
    ]
    if with_nats:
        variables.append(variable("nats_job", "Job of the NATS exporter", "label_values(gnatsd_varz_connections, job)"))
    return {
        "uid": f"wahook-{uid}", "title": f"wahook: {title}", "tags": ["wahook"], "schemaVersion": 38, "version": 1,
        "editable": True, "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "templating": {"list": variables},
        "links": [{"title": "wahook", "type": "dashboards", "tags": ["wahook"], "asDropdown": True}],
        "panels": placed(panels),
    }


ATTEMPTS = "wahook_delivery_attempt_duration_seconds"
END_TO_END = "wahook_delivery_end_to_end_seconds"
STORE = "wahook_store_request_duration_seconds"
HTTP = "wahook_http_request_duration_seconds"
SESSION_TASKS = "session|session_manager|node_lease|lease_renewal|key_writer"
SESSION_ROUTES = "/api/(messages/send|media/.*|chats/.*|contacts/.*)"
STORE_TASKS = "recorder|retention|sqlite_writer|cql_maintenance|store_probe|store_flush"
FULL = f"max by (stream) (wahook_stream_bytes{{{JOB}}} / (wahook_stream_bytes_max{{{JOB}}} > 0))"


def overview():
    return [
        stat("Nodes", "short", f"sum(up{{{JOB}}})", "Nodes that Prometheus reaches."),
        stat("Nodes with NATS", "short", f"sum(wahook_bus_connected{{{JOB}}})"),
        stat("Partitions", "short", f"sum(wahook_partitions_owned{{{JOB}}})", "Those that a node delivers: bus.partitions in all."),
        stat("Sessions connected", "short", f'sum(wahook_sessions{{{JOB}, state="connected"}})'),
        stat("Fullest stream", "percentunit", f"max({FULL})"),
        stat("Clients over a quota", "short", f'max(wahook_clients_over_quota{{{JOB}, quota="waiting"}})'),
        panel("Messages in", "cps", (rate("wahook_messages_published_total", "duplicate"), "duplicate: {{duplicate}}"),
              about="Publishes that JetStream acknowledged; a duplicate is not delivered again."),
        panel("Attempts by outcome", "cps", (rate(f"{ATTEMPTS}_count", "outcome"), "{{outcome}}")),
        panel("From publish to the 2xx", "s", (quantile(0.5, END_TO_END), "half"), (quantile(0.99, END_TO_END), "99 %"),
              about="Retries of endpoints that were down count, too: their deliveries take hours."),
        panel("Dead letters", "cps", (rate("wahook_dead_letters_total", "reason"), "{{reason}}")),
        panel("Parked", "cps",
              (rate("wahook_delivery_parked_total", "cause"), "{{cause}}"), about="Deliveries that wait for a later time."),
        panel("How full streams are", "percentunit", (FULL, "{{stream}}")),
        panel("Errors", "cps", ("topk(10, " + rate("wahook_errors_total", "room, code") + ")", "{{room}} {{code}}"),
              about="The ten commonest; docs/runbooks.md says what each means."),
        panel("Background tasks that failed", "cps", ("topk(10, " + rate("wahook_tasks_total", "kind, end", 'end=~"error|panic"') + ")",
              "{{kind}} {{end}}")),
        panel("API by status", "reqps", (rate(f"{HTTP}_count", "status"), "{{status}}")),
        panel("API, 99 % of requests", "s", (quantile(0.99, HTTP, "route"), "{{route}}")),
        panel("Versions", "short", (f"count by (version, commit) (wahook_build_info{{{JOB}}})", "{{version}} {{commit}}")),
        panel("Callers that were refused", "cps", (rate("wahook_api_wrong_tokens_total", "slowed"), "wrong token, slowed: {{slowed}}"),
              (rate("wahook_quota_refused_total", "quota"), "quota {{quota}}"),
              (rate("wahook_http_connections_closed_total", "cause"), "connection closed: {{cause}}")),
    ]


def webhooks():
    ok = rate(f"{ATTEMPTS}_count", labels='outcome="ok"')
    return [
        text(ONE_WEBHOOK),
        panel("Attempts that succeed", "percentunit", (f"{ok} / {rate(f'{ATTEMPTS}_count')}", "share")),
        panel("Attempts by outcome", "cps", (rate(f"{ATTEMPTS}_count", "outcome"), "{{outcome}}")),
        panel("How long attempts take, 99 %", "s", (quantile(0.99, ATTEMPTS, "outcome"), "{{outcome}}")),
        panel("From publish to the 2xx", "s", *((quantile(share, END_TO_END), f"{share:.0%}") for share in (0.5, 0.9, 0.99))),
        panel("Requests in flight", "short", (f"sum by (instance) (wahook_delivery_inflight{{{JOB}}})", "{{instance}}"),
              (f"sum by (instance) (wahook_delivery_places{{{JOB}}})", "places {{instance}}"),
              about="A node has deliver.in_flight_max places and a quarter more."),
        panel("Memory of messages taken up", "bytes", (f"sum by (instance) (wahook_delivery_taken_up_bytes{{{JOB}}})", "{{instance}}"),
              about="At deliver.memory_max a node pulls no more."),
        panel("Parked by cause", "cps", (rate("wahook_delivery_parked_total", "cause"), "{{cause}}")),
        panel("Brought forward, held, spared", "cps", (rate("wahook_delivery_brought_forward_total"), "brought forward"),
              (rate("wahook_delivery_held_total"), "held"), (rate("wahook_attempts_spared_total"), "spared")),
        panel("Over their share", "cps", (rate("wahook_delivery_over_share_total", "what"), "{{what}}"),
              about="Parked or held at once since their client had more than its share of a node or a stream."),
        panel("Breakers", "cps", (rate("wahook_breaker_transitions_total", "to"), "{{to}}")),
        panel("Dead letters by reason", "cps", (rate("wahook_dead_letters_total", "reason"), "{{reason}}"),
              (rate("wahook_dead_letters_cut_total", "what"), "without room: {{what}}")),
        panel("Refused addresses", "cps", (rate("wahook_egress_blocked_total", "rule"), "{{rule}}"),
              about="Webhooks whose name leads to an address that is not public."),
        panel("What clients store", "bytes", (f"max by (quota) (wahook_clients_usage_bytes{{{JOB}}})", "{{quota}}")),
        panel("Clients over a quota", "short", (f"max by (quota) (wahook_clients_over_quota{{{JOB}}})", "{{quota}}")),
        panel("Jobs", "cps", (rate("wahook_job_events_total", "job, what"), "{{job}} {{what}}"),
              (f"sum by (job) (wahook_jobs_running{{{JOB}}})", "running on {{job}}")),
    ]


def sessions():
    return [
        stat("Connected", "short", f'sum(wahook_sessions{{{JOB}, state="connected"}})'),
        stat("Not connected", "short", f'sum(wahook_sessions{{{JOB}, state!="connected"}})'),
        stat("Messages without a webhook", "cps", rate("wahook_messages_unrouted_total"), "They are dropped."),
        panel("Sessions by state", "short", (f"sum by (state) (wahook_sessions{{{JOB}}})", "{{state}}"), width=12),
        panel("Sessions by node", "short", (f'sum by (instance) (wahook_sessions{{{JOB}, state="connected"}})', "{{instance}}"), width=12),
        panel("Messages from WhatsApp", "cps", (rate("wahook_inbound_messages_total", "outcome"), "{{outcome}}")),
        panel("Connections left as mute", "cps", (rate("wahook_session_silences_total", "cause"), "{{cause}}")),
        panel("Errors of ingest", "cps", (rate("wahook_errors_total", "code", 'room="ingest"'), "{{code}}")),
        panel("Tasks of sessions that ended", "cps",
              (rate("wahook_tasks_total", "kind, end", f'kind=~"{SESSION_TASKS}"'), "{{kind}} {{end}}")),
        panel("Sending and media, by status", "reqps",
              (rate(f"{HTTP}_count", "route, status", f'route=~"{SESSION_ROUTES}"'), "{{route}} {{status}}")),
    ]


def nats():
    jetstream = f'{NATS}, stream_name=~"WA_.*"'
    return [
        stat("Nodes with NATS", "short", f"sum(wahook_bus_connected{{{JOB}}})"),
        stat("Servers", "short", f"count(gnatsd_varz_connections{{{NATS}}})", "nats-servers that the exporter reaches."),
        stat("Storage used", "percentunit",
             f"max(jetstream_server_total_message_bytes{{{NATS}}} / jetstream_server_max_storage{{{NATS}}})"),
        panel("Reconnects of nodes", "cps", (rate("wahook_bus_reconnects_total", "instance"), "{{instance}}")),
        panel("Clocks", "s",
              (f"wahook_clock_offset_seconds{{{JOB}}}", "{{instance}}"), about="A node ahead of nats-server; at 5 s /readyz is red."),
        panel("Redelivered and abandoned", "cps", (rate("wahook_redelivered_total", "work"), "redelivered {{work}}"),
              (rate("wahook_abandoned_total", "stream"), "abandoned {{stream}}"),
              (rate("wahook_lost_deliveries_total", "what"), "lost {{what}}")),
        panel("Bytes in streams", "bytes", (f"max by (stream) (wahook_stream_bytes{{{JOB}}})", "{{stream}}")),
        panel("How full streams are", "percentunit", (FULL, "{{stream}}")),
        panel("Retries and chat queues", "bytes",
              (f"max(wahook_retry_bytes{{{JOB}}})", "retries"), (f"max(wahook_line_bytes{{{JOB}}})", "chat queues"),
              about="At deliver.retry_bytes_max and an eighth more, or nine tenths of bus.message_bytes_max, no new messages are pulled."),
        panel("Partitions by node", "short", (f"sum by (instance) (wahook_partitions_owned{{{JOB}}})", "{{instance}}")),
        panel("Messages in streams", "short",
              (f"max by (stream_name) (jetstream_stream_total_messages{{{jetstream}}})", "{{stream_name}}")),
        panel("Waiting at consumers", "short",
              (f"max by (consumer_name) (jetstream_consumer_num_pending{{{jetstream}}})", "{{consumer_name}}")),
        panel("Handed out, not acknowledged", "short",
              (f"max by (consumer_name) (jetstream_consumer_num_ack_pending{{{jetstream}}})", "{{consumer_name}}")),
        panel("Processor time of servers", "percent", (f"gnatsd_varz_cpu{{{NATS}}}", "{{instance}}")),
        panel("Memory of servers", "bytes", (f"gnatsd_varz_mem{{{NATS}}}", "{{instance}}")),
        panel("Connections and slow consumers", "short", (f"gnatsd_varz_connections{{{NATS}}}", "connections {{instance}}"),
              (f"gnatsd_varz_slow_consumers{{{NATS}}}", "slow consumers {{instance}}")),
        panel("Routes between servers", "short", (f"gnatsd_varz_routes{{{NATS}}}", "{{instance}}"), about="Zero for a single server."),
    ]


def store():
    return [
        stat("Attempts written", "cps", rate("wahook_results_recorded_total")),
        stat("Results that wait", "bytes", f'max(wahook_stream_bytes{{{JOB}, stream="WA_RESULT"}})'),
        panel("Attempts made and written", "cps",
              (rate(f"{ATTEMPTS}_count"), "made"), (rate("wahook_results_recorded_total"), "written"), width=16),
        panel("Requests to the store", "reqps", (rate(f"{STORE}_count", "op, outcome"), "{{op}} {{outcome}}")),
        panel("How long they take, 99 %", "s", (quantile(0.99, STORE, "op"), "{{op}}")),
        panel("Those that fail", "percentunit",
              (rate(f"{STORE}_count", "op", 'outcome="error"') + " / (" + rate(f"{STORE}_count", "op") + " > 0)", "{{op}}")),
        panel("Errors of the store and of record", "cps",
              (rate("wahook_errors_total", "room, code", 'room=~"store|record"'), "{{room}} {{code}}")),
        panel("Tasks of the store that ended", "cps",
              (rate("wahook_tasks_total", "kind, end", f'kind=~"{STORE_TASKS}"'), "{{kind}} {{end}}")),
        panel("How full WA_RESULT is", "percentunit", (f'max(wahook_stream_bytes{{{JOB}, stream="WA_RESULT"}}) / '
              f'max(wahook_stream_bytes_max{{{JOB}, stream="WA_RESULT"}} > 0)', "WA_RESULT")),
        panel("CQL: statements", "cps", (rate("wahook_cql_statements_total", "table"), "{{table}}")),
        panel("CQL: trouble", "cps", (rate("wahook_cql_trouble_total", "cause"), "{{cause}}"), about="Most statements are tried again."),
        panel("CQL: connections", "short", (f'sum by (instance) (wahook_cql_driver{{{JOB}, what="connections"}})', "{{instance}}")),
    ]


DASHBOARDS = {
    "overview": ("overview", overview, False),
    "webhooks": ("webhooks", webhooks, False),
    "sessions": ("sessions", sessions, False),
    "nats": ("NATS", nats, True),
    "store": ("store", store, False),
}


def main():
    wrong = []
    for name, (title, panels, with_nats) in DASHBOARDS.items():
        file = FOLDER / f"{name}.json"
        made = json.dumps(dashboard(name, title, panels(), with_nats), indent=1) + "\n"
        if "--check" not in sys.argv:
            file.write_text(made)
        elif not file.exists() or file.read_text() != made:
            wrong.append(file.name)
    if wrong:
        sys.exit(f"not as deploy/grafana/make.py writes them: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
