"""Dashboards and alerts on a real Prometheus that scrapes a real `wahook dev` under the traffic of the demo.

Each query of a panel must return a number, or its panel is in NEEDS and must not. Each alert must be evaluated without an
error, none may ring for want of traffic, and that on nodes that are down must notice when the node stops.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import monitoring
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
import demo
from receiver import Receiver

TOOLS = ROOT / ".tools/bin"
# Panels without data here, and what they need.
NEEDS = {
    ("store", "CQL: statements"): "Cassandra or ScyllaDB",
    ("store", "CQL: trouble"): "Cassandra or ScyllaDB with faults",
    ("store", "CQL: connections"): "Cassandra or ScyllaDB",
    ("webhooks", "Refused addresses"): "a webhook whose name leads to a private address",
} | {("nats", title): "prometheus-nats-exporter" for title in (
    "Servers", "Storage used", "Messages in streams", "Waiting at consumers", "Handed out, not acknowledged", "Processor time of servers",
    "Memory of servers", "Connections and slow consumers", "Routes between servers",
)}
# The demo sends more failures than a day in production, and its tokens are wrong on purpose below.
EXPECTED_ALERTS = {"WahookAttemptsFail", "WahookDeadLetters", "WahookUnrouted"}


class Prometheus:
    """A Prometheus with the alerts, that asks one node each second."""

    def __init__(self, folder, port, node):
        self.base = f"http://127.0.0.1:{port}"
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(monitoring.ALERTS)],
            "scrape_configs": [{"job_name": "wahook", "static_configs": [{"targets": [node]}]}],
        }
        file = Path(folder, "prometheus.yaml")
        file.write_text(yaml.safe_dump(settings))
        options = [f"--config.file={file}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
        self.process = subprocess.Popen([TOOLS / "prometheus", *options], stderr=open(f"{folder}/prometheus.log", "w"))

    def get(self, path, **parameters):
        with urllib.request.urlopen(f"{self.base}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def numbers(self, query):
        """The values of an instant query that are numbers."""
        values = [float(one["value"][1]) for one in self.get("/api/v1/query", query=query)["result"]]
        return [value for value in values if value == value]

    def alerts(self):
        """The rules that are alerts, as Prometheus sees them."""
        return {rule["name"]: rule for group in self.get("/api/v1/rules")["groups"] for rule in group["rules"]}


def check_exposition(admin):
    with urllib.request.urlopen(f"{admin}/metrics", timeout=5) as answer:
        text = answer.read()
    subprocess.run([TOOLS / "promtool", "check", "metrics"], input=text, check=True)
    print("promtool takes /metrics as it is")


def check_names_of_servers(monitor):
    """The exporter makes a metric of each number of /varz, so these must be there."""
    with urllib.request.urlopen(f"{monitor}/varz", timeout=5) as answer:
        varz = json.loads(answer.read())
    names = {name.removeprefix("gnatsd_varz_") for name in monitoring.OF_THE_EXPORTER if name.startswith("gnatsd_varz_")}
    missing = [name for name in sorted(names) if not isinstance(varz.get(name), int | float)]
    if missing:
        sys.exit(f"nats-server's /varz has no number {', '.join(missing)}")


def new_token(env):
    command = [demo.WAHOOK, "token", "create", "--client", "1"]
    made = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=30)
    return made.stdout.strip().splitlines()[-1]


def traffic(base, token, control):
    """That of the demo, and calls that are refused."""
    api = demo.Api(base, token)
    receiver = Receiver(0)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{receiver.server_address[1]}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            demo.whatsapp(api, demo.Api(control, ""), receiver, here)
            demo.tell(api, receiver, here)
    except SystemExit:
        print(said.getvalue())
        raise
    request = urllib.request.Request(f"{base}/api/webhooks/list", headers={"authorization": "Bearer wahook_wrong"})
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=5)


def check_panels(prometheus):
    """All panels that should have data get some within half a minute, and no others."""
    monitoring.VARIABLES["$__rate_interval"] = "1m"
    queries = list(monitoring.dashboard_queries())
    waiting = [one for one in queries if one[:2] not in NEEDS]
    end = time.monotonic() + 30
    while waiting and time.monotonic() < end:
        waiting = [one for one in waiting if not prometheus.numbers(one[2])]
        time.sleep(0.5)
    faults = [f"no data: {dashboard}, {title}: {query}" for dashboard, title, query in waiting]
    titles = {one[:2] for one in queries}
    faults += [f"NEEDS has no panel of that name: {one}" for one in NEEDS if one not in titles]
    for dashboard, title, query in queries:
        if (dashboard, title) in NEEDS and prometheus.numbers(query):
            faults.append(f"has data, so NEEDS is wrong: {dashboard}, {title}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len([one for one in queries if one[:2] not in NEEDS])} queries return numbers; without data here:")
    for (dashboard, title), what in NEEDS.items():
        print(f"  {dashboard}, {title}: needs {what}")


def check_alerts(prometheus):
    alerts = prometheus.alerts()
    faults = [f"{name}: {rule['lastError']}" for name, rule in alerts.items() if rule["health"] != "ok"]
    faults += [f"{name} is not there" for name in monitoring.alerts() if name not in alerts]
    for name, rule in alerts.items():
        if rule["state"] != "inactive" and name not in EXPECTED_ALERTS:
            faults.append(f"{name} is {rule['state']} on a healthy node")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(alerts)} alerts are evaluated without an error")


def server_with_monitoring(folder, port):
    """The nats-server that `wahook dev` is to start: with its monitoring."""
    file = Path(folder, "nats-server")
    file.write_text(f'#!/bin/sh\nexec {TOOLS / "nats-server"} "$@" --http_port {port}\n')
    file.chmod(0o755)
    return str(file)


def main():
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="wahook-live-") as folder:
        nats, monitor, api, admin, port = (next(demo.PORTS) for _ in range(5))
        standin, where = demo.start_whatsapp(folder)
        env = demo.node_settings(folder, where, nats, api, admin) | {"NATS_SERVER_BIN": server_with_monitoring(folder, monitor)}
        prometheus = Prometheus(folder, port, f"127.0.0.1:{admin}")
        node = subprocess.Popen([demo.WAHOOK, "dev"], env=env, cwd=ROOT)
        try:
            demo.wait_until("the node is ready", lambda: node.poll() is None and demo.ready(f"http://127.0.0.1:{admin}/readyz"))
            demo.wait_until("Prometheus is ready", lambda: prometheus.process.poll() is None and demo.ready(f"{prometheus.base}/-/ready"))
            demo.wait_until("Prometheus has asked the node", lambda: prometheus.numbers("wahook_build_info"))
            traffic(f"http://127.0.0.1:{api}", new_token(env), where["control"])
            check_exposition(f"http://127.0.0.1:{admin}")
            check_names_of_servers(f"http://127.0.0.1:{monitor}")
            check_panels(prometheus)
            check_alerts(prometheus)
            node.terminate()
            node.wait(timeout=demo.PATIENCE_SECONDS)
            demo.wait_until("WahookDown notices", lambda: prometheus.alerts()["WahookDown"]["state"] == "pending")
            print(f"WahookDown notices that the node has stopped; {time.monotonic() - began:.0f} s")
        finally:
            for process in (node, prometheus.process, standin):
                process.terminate()
                process.wait(timeout=demo.PATIENCE_SECONDS)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
