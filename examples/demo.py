#!/usr/bin/env python3
"""The whole way in a minute: `make demo`.

Starts a stand-in WhatsApp server and `wahook dev` with a folder of its own, links a phone, lets somebody write to it,
registers webhooks, publishes messages and tells what was received, retried and audited. Ends with exit code 1 when anything is not as it should be. --keep leaves it running.

With --cql the audit is in Cassandra, and it is `wahook serve` on a nats-server of its own, as in production.
"""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from receiver import Receiver

ROOT = Path(__file__).resolve().parent.parent
WAHOOK = Path(os.environ.get("WAHOOK_BIN", ROOT / "target/debug/wahook"))
WHATSAPP = Path(os.environ.get("WHATSAPP_SIM_BIN", ROOT / "target/debug/whatsapp-sim"))
NATS_SERVER = Path(os.environ.get("NATS_SERVER_BIN", ROOT / ".tools/bin/nats-server"))
PATIENCE_SECONDS = 60
RETRY_BASE_SECONDS = 2
MESSAGES = 5
LINKED, ANN, GROUP = "4915110000000", "4915199999999", "120363000000000001@g.us"
PHONES = {"good": "4915110000001", "flaky": "4915110000002", "reject": "4915110000003"}


def free_ports():
    """Ports below the range from which the kernel takes ports for connections and for port 0.

    Otherwise something else could take one before its server starts.
    """
    offset = os.getpid() * 541
    for number in range(20_000):
        port = 10_000 + (offset + number) % 20_000
        try:
            with socket.socket() as one:
                one.bind(("127.0.0.1", port))
        except OSError:
            continue
        yield port


PORTS = free_ports()


def wait_until(what, ask):
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.1)
    sys.exit(f"demo: waited {PATIENCE_SECONDS} s in vain until {what}")


def ready(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


class Api:
    def __init__(self, base, token):
        self.base, self.token = base, token

    def call(self, method, path, body=None):
        return json.loads(self.raw(method, path, body))

    def raw(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            sys.exit(f"demo: {method} {path}: {error.code} {error.read().decode()}")


def expect(truth, what):
    if not truth:
        sys.exit(f"demo: NOT AS EXPECTED: {what}")
    print(f"  ok: {what}")


def start_whatsapp(data):
    """The stand-in WhatsApp server, and where it listens."""
    process = subprocess.Popen([WHATSAPP, "--ca-file", f"{data}/media-ca.pem"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return process, json.loads(process.stdout.readline())


def node_settings(data, whatsapp, nats, api, admin):
    """The environment of a node with these ports, whose files are in a folder of its own."""
    return os.environ | {
        "WAHOOK__WHATSAPP__URL": whatsapp["url"],
        "WAHOOK__WHATSAPP__VERSION": "2.3000.1023223821",
        "WAHOOK__WHATSAPP__MEDIA_HOST": whatsapp["media_host"],
        "WAHOOK__WHATSAPP__ROOT_CA_FILE": f"{data}/media-ca.pem",
        "WAHOOK__WHATSAPP__SESSIONS_DIR": f"{data}/sessions",
        "WAHOOK__NATS__URL": f"nats://127.0.0.1:{nats}",
        "WAHOOK__API__LISTEN": f"127.0.0.1:{api}",
        "WAHOOK__ADMIN__LISTEN": f"127.0.0.1:{admin}",
        "WAHOOK__NODE__DATA_DIR": data,
        "WAHOOK__STORE__PATH": f"{data}/hooks.db",
        # The receiver below is on this machine and speaks plain http: both are refused unless allowed.
        "WAHOOK__EGRESS__ALLOW_HTTP": "true",
        "WAHOOK__EGRESS__ALLOW_CIDRS": "127.0.0.0/8",
        "WAHOOK__DELIVER__RETRY_BASE": f"{RETRY_BASE_SECONDS}s",
        "WAHOOK__LOG__FILTER": "warn",
    }


def main():
    keep = "--keep" in sys.argv
    # As Ctrl-C does: it ends what it has started, once the node runs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data = tempfile.mkdtemp(prefix="wahook-demo-")
    nats, api_port, admin = next(PORTS), next(PORTS), next(PORTS)
    base, probes = f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{admin}"
    print("starting a stand-in WhatsApp server: no real account is touched")
    standin, where = start_whatsapp(data)
    env = node_settings(data, where, nats, api_port, admin)
    servers = []
    if "--cql" in sys.argv:
        command = [WAHOOK, "serve", "--roles", "api,ingest,deliver,record"]
        env |= start_servers(servers, data, nats)
        for step in (["bus", "apply"], ["migrate", "--create-keyspace", "1"]):
            print(f"$ wahook {' '.join(step)}")
            subprocess.run([WAHOOK, *step], env=env, cwd=ROOT, check=True, timeout=PATIENCE_SECONDS)
        print("$ wahook serve --roles api,ingest,deliver,record")
    else:
        command = [WAHOOK, "dev"]
        print(f"starting `wahook dev` (all roles, SQLite, a nats-server child) in {data}")
    node = subprocess.Popen(command, env=env, cwd=ROOT)
    try:
        wait_until("it is ready", lambda: node.poll() is None and ready(f"{probes}/readyz"))
        made = subprocess.run(
            [WAHOOK, "token", "create", "--client", "1", "--name", "demo"], env=env, capture_output=True, text=True, check=True, timeout=30
        )
        token = made.stdout.strip().splitlines()[-1]
        api = Api(base, token)
        receiver = Receiver(0)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{receiver.server_address[1]}"
        whatsapp(api, Api(where["control"], ""), receiver, here)
        webhooks = tell(api, receiver, here)
        if servers:
            statements(probes)
        print_commands(base, token, nats, f"{data}/hooks.db", probes, webhooks)
        if keep:
            print("\nstill running; Ctrl-C ends it")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    finally:
        node.terminate()
        code = node.wait(timeout=PATIENCE_SECONDS)
        standin.terminate()
        standin.wait(timeout=PATIENCE_SECONDS)
        for server in reversed(servers):
            if server.stdin:
                server.stdin.close()
            else:
                server.terminate()
            server.wait(timeout=PATIENCE_SECONDS)
    expect(code == 0, "the node drained and ended cleanly")


def start_servers(servers, data, nats):
    """A nats-server and a Cassandra; the settings that name them."""
    listen = ["--addr", "127.0.0.1", "--port", str(nats)]
    log = open(f"{data}/nats.log", "w")
    servers.append(subprocess.Popen([NATS_SERVER, "--config", ROOT / "nats/dev.conf", "--store_dir", f"{data}/nats", *listen], stderr=log))
    ports = [next(PORTS) for _ in range(3)]
    print(f"starting nats-server and Cassandra on ports {nats} and {ports[0]}")
    # It runs for as long as this pipe is open.
    script = [ROOT / "scripts/run-cassandra.sh", *map(str, ports)]
    cassandra = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    servers.append(cassandra)
    if cassandra.stdout.readline().strip() != "ready":
        sys.exit("demo: Cassandra does not start; `make cassandra` installs it")
    return {"WAHOOK__STORE__KIND": "cql", "WAHOOK__CQL__NODES": f"127.0.0.1:{ports[0]}", "WAHOOK__CQL__READ_TIMEOUT": "10s"}


def statements(probes):
    """What the store was asked to write, by its own count."""
    name = "wahook_cql_statements_total"
    with urllib.request.urlopen(f"{probes}/metrics", timeout=5) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith(name + "{")]
    counts = {line.split('"')[1]: int(line.split()[-1]) for line in lines}
    print("\nwhat was written to Cassandra, in statements")
    for table, count in sorted(counts.items()):
        print(f"  {table:18} {count}")
    # Three from WhatsApp, one for each good message, three for the flaky one, one refusal.
    expect(counts["events"] == 3 + MESSAGES + 3 + 1, "one INSERT into events per attempt")


def whatsapp(api, phone, receiver, here):
    print(f"\nlinking {LINKED}: wahook shows a QR code, the stand-in's phone scans it")
    session = api.call("POST", "/api/sessions", {"phone_number": LINKED})
    path = f"/api/sessions/{session['id']}"
    print(api.raw("GET", f"{path}/qr?format=text").decode())
    phone.call("POST", "/scan", {"phone": LINKED, "qr": api.raw("GET", f"{path}/qr?format=raw").decode()})
    wait_until("it is connected", lambda: api.call("GET", path)["state"] == "connected")
    print("  connected")
    webhook = api.call("POST", "/api/webhooks/register", {"phone_number": LINKED, "webhook_url": f"{here}/whatsapp"})
    receiver.secrets.append(webhook["signing_secret"])

    print("\nAnn writes a text, sends an image, and writes to a group")
    image = os.urandom(50_000)
    ann = {"to": LINKED, "from": ANN, "name": "Ann"}
    phone.call("POST", "/messages", ann | {"text": "Hello!"})
    phone.call("POST", "/messages", ann | {"text": "look", "image": base64.b64encode(image).decode()})
    phone.call("POST", "/messages", ann | {"text": "Hello, all!", "group": GROUP})
    events = f"/api/webhooks/{webhook['id']}/events?include=payload"
    done = lambda: [one for one in api.call("GET", events)["data"] if one["status"] == "delivered"]
    wait_until("all three are delivered", lambda: len(done()) == 3)
    payloads = [event["payload"] for event in reversed(done())]
    for one in payloads:
        where = "group" if one["metadata"]["is_group"] else "chat"
        print(f"  {one['type']:6} from {one['metadata']['push_name']} ({one['from']}) in a {where}: {one['content']}")
    # No order is promised, unless a webhook asks for it.
    expect(sorted(one["content"] for one in payloads) == ["Hello!", "Hello, all!", "look"], "each arrived once")
    media = next(one["metadata"]["media"] for one in payloads if one["type"] == "image")
    got = api.raw("GET", f"/api/media/{media['id']}")
    expect(got == image, f"the image came decrypted through /api/media ({len(got)} bytes)")
    (device,) = phone.call("GET", "/devices")
    expect(len(device["acked"]) >= 3 and not device["pending"], "WhatsApp was told of each, once the stream had it")
    receiver.received.clear()


def tell(api, receiver, here):
    print("\nregistering three webhooks of client 1")
    webhooks = {}
    for name, phone in PHONES.items():
        body = {"phone_number": phone, "webhook_url": f"{here}/{name}"}
        webhooks[name] = api.call("POST", "/api/webhooks/register", body)
        receiver.secrets.append(webhooks[name]["signing_secret"])
        print(f"  {phone} -> /{name:7} {webhooks[name]['id']}")

    print(f"\npublishing {MESSAGES} messages to the good one, one to each other, and one of them twice")
    for number in range(MESSAGES):
        publish(api, "good", f"GOOD{number}")
    twice = publish(api, "good", "GOOD0")
    publish(api, "flaky", "FLAKY")
    publish(api, "reject", "REJECT")
    expect(twice["status"] == "duplicate", "the second copy of a message is recognised")

    def events(name):
        return api.call("GET", f"/api/webhooks/{webhooks[name]['id']}/events")["data"]

    def final():
        all_events = [event for name in PHONES for event in events(name)]
        return len(all_events) == MESSAGES + 2 and all(event["status"] in ("delivered", "failed") for event in all_events)

    wait_until("every event has ended", final)

    print("\nwhat the receiver got")
    began = receiver.received[0][0]
    for at, path, message, ok, status in receiver.received:
        print(f"  {at - began:6.2f} s  {path:8} {message:7} {'signature verified' if ok else 'SIGNATURE WRONG'}, answered {status}")

    print("\nwhat the audit says")
    print(f"  {'message':8} {'attempt':7} {'status':10} {'http':5} {'took':>6}  next try / error")
    for name in PHONES:
        for listed in reversed(events(name)):
            event = api.call("GET", f"/api/webhooks/events/{listed['id']}")
            for one in event["attempts"]:
                note = one["next_retry_at"] or one["error"] or ""
                print(f"  {event['message_id']:8} {one['number']:7} {one['status']:10} {one['http_status']:5} {one['latency_ms']:4} ms  {note}")

    print()
    flaky, reject = events("flaky")[0], events("reject")[0]
    times = [at for at, _, message, _, _ in receiver.received if message == "FLAKY"]
    waits = [round(later - earlier, 1) for earlier, later in zip(times, times[1:])]
    expect(all(ok for _, _, _, ok, _ in receiver.received), "every signature was verified")
    expect(len([1 for _, path, _, _, _ in receiver.received if path == "/good"]) == MESSAGES, "each good message came once")
    expect((flaky["status"], flaky["attempt_count"]) == ("delivered", 3), f"500, 500, 204: delivered at the third attempt, after waits of {waits} s")
    expect((reject["status"], reject["attempt_count"]) == ("failed", 1), "400 is final: one attempt, then the dead letters")
    letters = api.call("GET", "/api/dead-letters")["data"]
    expect([letter["message_id"] for letter in letters] == ["REJECT"], "the dead letters hold exactly that one")
    return webhooks


def publish(api, name, message_id):
    body = {
        "phone_number": PHONES[name], "message_id": message_id, "from": "4915199999999", "type": "text",
        "content": f"Hello, this is {message_id}", "metadata": {"push_name": "Ann"},
    }
    return api.call("POST", "/api/messages", body)


def print_commands(base, token, nats, database, probes, webhooks):
    print("\nto look on by hand (with `make demo KEEP=1`)")
    server = f"nats --server nats://127.0.0.1:{nats}"
    if "--cql" not in sys.argv:
        # Sets address, user and password for the nats CLI.
        print(f"  . {os.path.dirname(database)}/nats/cli.env")
        server = "nats"
    print(f"  curl -H 'authorization: Bearer {token}' {base}/api/webhooks/list")
    print(f"  curl -H 'authorization: Bearer {token}' {base}/api/webhooks/{webhooks['flaky']['id']}/events")
    print(f"  curl {probes}/readyz?verbose; curl {probes}/metrics")
    print(f"  {server} stream ls")
    print(f"  {server} kv ls wa_webhooks; {server} kv ls wa_sessions")
    if "--cql" not in sys.argv:
        print(f"  sqlite3 -box {database} 'SELECT * FROM audit'")


if __name__ == "__main__":
    main()
