"""What promtool cannot know about alerts and dashboards.

Each metric is one of docs/metrics.md, or one of prometheus-nats-exporter. Each alert has a section in docs/runbooks.md and a
test in which it rings and stops. Each query of a dashboard parses.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
PROMTOOL = ROOT / ".tools/bin/promtool"
# Read in the exporter's source, of June 2026: `collector/jsz.go`, and each number of `/varz`.
OF_THE_EXPORTER = {
    "gnatsd_varz_connections", "gnatsd_varz_cpu", "gnatsd_varz_mem", "gnatsd_varz_routes", "gnatsd_varz_slow_consumers",
    "jetstream_consumer_num_ack_pending", "jetstream_consumer_num_pending", "jetstream_server_max_storage",
    "jetstream_server_total_message_bytes", "jetstream_stream_total_messages",
}
OF_PROMETHEUS = {"up"}
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$nats_job": ".*"}
METRIC = re.compile(r"\b(?:(?:wahook|gnatsd|jetstream)_[a-z0-9_]+|up)\b")


def documented():
    """Each name of docs/metrics.md as queries may have it: a histogram has three."""
    names = set()
    row = re.compile(r"^\| `(wahook_\w+)` \| (\w+) \|", re.MULTILINE)
    for name, kind in row.findall((ROOT / "docs/metrics.md").read_text()):
        names |= {name + end for end in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
    return names


def alerts():
    """The alerts by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def dashboard_queries():
    """Dashboard, panel and query, with what Grafana would put in place of variables."""
    for file in sorted((DEPLOY / "grafana").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"]
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                yield file.stem, panel["title"], query


def metrics_of(query):
    """The metrics of a query: its words without labels, texts and functions."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)", "", bare)
    return set(METRIC.findall(bare))


def unknown_metrics():
    known = documented() | OF_THE_EXPORTER | OF_PROMETHEUS
    places = [(f"alert {name}", rule["expr"]) for name, rule in alerts().items()]
    places += [(f"dashboard {name}, {panel}", query) for name, panel, query in dashboard_queries()]
    for place, query in places:
        found = metrics_of(query)
        if not found:
            yield f"{place}: no metric in {query}"
        for metric in sorted(found - known):
            yield f"{place}: {metric} is not in docs/metrics.md"


def anchors(text):
    """The anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def alerts_without_runbook():
    sections = anchors((ROOT / "docs/runbooks.md").read_text())
    for name, rule in alerts().items():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        if not page.endswith("/docs/runbooks.md") or sections.count(anchor) != 1 or anchor != name.lower():
            yield f"alert {name}: no section of its own in docs/runbooks.md"
    for section in sections:
        if section.startswith("wahook") and section not in {name.lower() for name in alerts()}:
            yield f"docs/runbooks.md: no alert {section}"


def untested_alerts():
    rings, stops = set(), set()
    for file in sorted((DEPLOY / "prometheus/tests").glob("*.yaml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            last = {}
            for case in sorted(test["alert_rule_test"], key=lambda case: int(case["eval_time"].removesuffix("m"))):
                name = case["alertname"]
                if case["exp_alerts"]:
                    rings.add(name)
                last[name] = case["exp_alerts"]
            stops |= {name for name, expected in last.items() if not expected}
    for name in alerts():
        if name not in rings & stops:
            yield f"alert {name}: no test in which it rings, and stops afterwards"


def queries_that_do_not_parse():
    """promtool reads rules, so each query becomes one."""
    rules = [{"record": f"panel:{number}", "expr": query} for number, (_, _, query) in enumerate(dashboard_queries())]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run([PROMTOOL, "check", "rules", file.name], capture_output=True, text=True)
        if done.returncode != 0:
            yield f"a query of a dashboard does not parse: {done.stderr}"


def main():
    faults = [*unknown_metrics(), *alerts_without_runbook(), *untested_alerts(), *queries_that_do_not_parse()]
    print(f"{len(alerts())} alerts, {len(list(dashboard_queries()))} queries of dashboards")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
