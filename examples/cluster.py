#!/usr/bin/env python3
"""A node, a server and a session's process are killed while messages flow: `make cluster`.

Starts three nats-servers from nats/cluster.conf with certificates of their own, a stand-in WhatsApp server, and each role as
a process under its own user: one api, one record, two deliver, two ingest. While messages come from a gateway and from
WhatsApp it kills, one after the other: a node that delivers, a nats-server, and the process that runs the WhatsApp session.
After each it tells what came late, twice or not at all. Ends with exit code 1 when anything was lost. --keep leaves it
running.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from demo import ANN, LINKED, NATS_SERVER, PATIENCE_SECONDS, PORTS, ROOT, WAHOOK, WHATSAPP, Api, expect, ready, wait_until
from receiver import Receiver

CERTIFICATES = Path(os.environ.get("CERTIFICATES_BIN", ROOT / "target/debug/certificates"))
SERVERS = ("n1", "n2", "n3")
# The servers read it as they read their file: a letter first.
PASSWORD = "p4ssw0rd"
PHONES = [f"49151100002{number:02}" for number in range(8)]
GATEWAY_PER_SECOND, WHATSAPP_PER_SECOND = 20, 2
CALM_SECONDS, AFTER_SECONDS = 5, 18
# What a killed node had in hand comes again after this time.
ACK_WAIT_SECONDS = 16


class Server:
    """One of the three nats-servers."""

    def __init__(self, folder, name):
        self.folder, self.name, self.process = folder, name, None
        self.port, self.route, self.monitor = next(PORTS), next(PORTS), next(PORTS)

    def start(self, all_servers):
        text = (ROOT / "nats/cluster.conf").read_text()
        listens = (("listen: 0.0.0.0:4222", self.port), ("listen: 0.0.0.0:6222", self.route), ("\nhttp: 127.0.0.1:8222", self.monitor))
        for shipped, port in listens:
            text = text.replace(shipped, f"{shipped.split(':')[0]}: 127.0.0.1:{port}")
        config = self.folder / f"{self.name}.conf"
        config.write_text(text)
        env = os.environ | {
            "SERVER_NAME": self.name,
            "CLIENT_ADVERTISE": f"127.0.0.1:{self.port}",
            "CLUSTER_ADVERTISE": f"127.0.0.1:{self.route}",
            "STORE_DIR": str(self.folder / f"{self.name}.store"),
            "TLS_CERT": str(self.folder / f"certs/{self.name}.crt"),
            "TLS_KEY": str(self.folder / f"certs/{self.name}.key"),
            "TLS_CA": str(self.folder / "certs/ca.pem"),
        }
        env |= {f"ROUTE_{place}": f"nats://route:{PASSWORD}@127.0.0.1:{one.route}" for place, one in enumerate(all_servers, 1)}
        env |= {f"{user}_PASSWORD": PASSWORD for user in ("ROUTE", "OPERATOR", "API", "INGEST", "DELIVER", "RECORD")}
        log = open(self.folder / f"{self.name}.log", "a")
        self.process = subprocess.Popen([NATS_SERVER, "--config", config], env=env, stdout=log, stderr=log)

    def monitored(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/{path}", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return {}

    def healthy(self):
        return self.monitored("healthz").get("status") == "ok"


class Node:
    """One `wahook serve`, under the user of its role."""

    def __init__(self, env, folder, role, name):
        self.role, self.name, self.admin = role, name, f"127.0.0.1:{next(PORTS)}"
        env = env | login(folder, role) | {"WAHOOK__ADMIN__LISTEN": self.admin}
        log = open(folder / f"{name}.log", "w")
        self.process = subprocess.Popen([WAHOOK, "serve", "--roles", role], env=env, cwd=ROOT, stderr=log, stdout=log)

    def ready(self):
        if self.process.poll() is not None:
            sys.exit(f"cluster: {self.name} ended with {self.process.returncode}")
        return ready(f"http://{self.admin}/readyz")

    def metric(self, name):
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and line[len(name)] in " {")

    def kill(self):
        self.process.kill()
        self.process.wait()


def login(folder, user):
    return {
        "WAHOOK__NATS__USER": user,
        "WAHOOK__NATS__PASSWORD": PASSWORD,
        "WAHOOK__NATS__INBOX_PREFIX": f"_INBOX_{user}",
        "WAHOOK__NATS__ROOT_CA_FILE": str(folder / "certs/ca.pem"),
    }


class Flow:
    """Messages from a gateway and from WhatsApp, and when each was accepted."""

    def __init__(self, api, phone):
        self.api, self.phone, self.accepted, self.stopped = api, phone, {}, threading.Event()
        self.threads = [threading.Thread(target=one, daemon=True) for one in (self.gateway, self.whatsapp)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def gateway(self):
        """Each message is published again under its id until it is accepted."""
        number = 0
        while not self.stopped.wait(1 / GATEWAY_PER_SECOND):
            message = f"G{number}"
            body = {"phone_number": PHONES[number % len(PHONES)], "message_id": message, "from": ANN, "type": "text", "content": "hello"}
            while not self.publishes(body):
                time.sleep(0.2)
            self.accepted[message] = time.time()
            number += 1

    def publishes(self, body):
        data, headers = json.dumps(body).encode(), {"authorization": f"Bearer {self.api.token}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self.api.base}/api/messages", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status == 202
        except OSError:
            return False

    def whatsapp(self):
        while not self.stopped.wait(1 / WHATSAPP_PER_SECOND):
            try:
                sent = self.phone.call("POST", "/messages", {"to": LINKED, "from": ANN, "name": "Ann", "text": "hello"})
            except SystemExit:
                # Nobody runs the session now: nothing was sent.
                continue
            self.accepted[sent["id"]] = time.time()


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="wahook-cluster-"))
    with contextlib.ExitStack() as running:
        servers = start_servers(folder, running)
        standin, where = start_standin(folder)
        running.callback(end, standin)
        env = settings(folder, servers, where)
        operator = env | login(folder, "operator")
        print("$ wahook bus apply      (streams and buckets with 3 copies each; waits until the copies are complete)")
        subprocess.run([WAHOOK, "bus", "apply"], env=operator, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        nodes = {}

        def start(role, name):
            nodes[name] = Node(env, folder, role, name)
            running.callback(end, nodes[name].process)
            wait_until(f"{name} is ready", nodes[name].ready)

        print("starting api, record, two deliver, two ingest, each under its own user")
        for role, name in (("api", "api"), ("record", "record"), ("deliver", "deliver-1"), ("deliver", "deliver-2"), ("ingest", "ingest-1")):
            start(role, name)
        made = subprocess.run([WAHOOK, "token", "create", "--client", "1"], env=operator, capture_output=True, text=True, check=True)
        api = Api(f"http://{env['WAHOOK__API__LISTEN']}", made.stdout.strip().splitlines()[-1])
        phone = Api(where["control"], "")
        receiver = Receiver(0)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        register(api, phone, receiver)
        # The session is linked: the second one waits for the first one's end.
        start("ingest", "ingest-2")

        flow = Flow(api, phone)
        flow.start()
        print(f"\n{GATEWAY_PER_SECOND} messages a second from a gateway, {WHATSAPP_PER_SECOND} from WhatsApp; all is well for {CALM_SECONDS} s")
        story = Story(flow, receiver)
        story.tell(CALM_SECONDS)
        kill_a_deliver_node(nodes, story)
        start("deliver", "deliver-3")
        kill_a_server(servers, story)
        kill_the_session(nodes, story)
        flow.stop()
        story.end()
        if "--keep" in sys.argv:
            print(f"\nstill running, with its logs in {folder}; Ctrl-C ends it")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def start_servers(folder, running):
    print(f"starting three nats-servers from nats/cluster.conf, with TLS, in {folder}")
    subprocess.run([CERTIFICATES, folder / "certs", *SERVERS], check=True, stdout=subprocess.DEVNULL)
    servers = [Server(folder, name) for name in SERVERS]
    for server in servers:
        server.start(servers)
        running.callback(lambda server=server: end(server.process))
    wait_until("the servers are one cluster", lambda: all(server.healthy() for server in servers))
    return servers


def start_standin(folder):
    print("starting a stand-in WhatsApp server: no real account is touched")
    standin = subprocess.Popen([WHATSAPP, "--ca-file", folder / "media-ca.pem"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return standin, json.loads(standin.stdout.readline())


def settings(folder, servers, where):
    values = {
        "NATS__URL": ",".join(f"nats://127.0.0.1:{server.port}" for server in servers),
        "BUS__REPLICAS": "3",
        "BUS__ACK_WAIT": f"{ACK_WAIT_SECONDS}s",
        "DELIVER__TIMEOUT": "2s",
        "API__LISTEN": f"127.0.0.1:{next(PORTS)}",
        "NODE__DATA_DIR": str(folder),
        "STORE__PATH": str(folder / "hooks.db"),
        "WHATSAPP__URL": where["url"],
        "WHATSAPP__VERSION": "2.3000.1023223821",
        "WHATSAPP__MEDIA_HOST": where["media_host"],
        "WHATSAPP__ROOT_CA_FILE": str(folder / "media-ca.pem"),
        "WHATSAPP__SESSIONS_DIR": str(folder / "sessions"),
        "EGRESS__ALLOW_HTTP": "true",
        "EGRESS__ALLOW_CIDRS": "127.0.0.0/8",
        "LOG__FILTER": "warn",
    }
    return os.environ | {f"WAHOOK__{key}": value for key, value in values.items()}


def register(api, phone, receiver):
    here = f"http://127.0.0.1:{receiver.server_address[1]}"
    print(f"linking {LINKED} and registering {1 + len(PHONES)} webhooks")
    session = api.call("POST", "/api/sessions", {"phone_number": LINKED})
    path = f"/api/sessions/{session['id']}"
    phone.call("POST", "/scan", {"phone": LINKED, "qr": wait_until("there is a code", lambda: api.raw("GET", f"{path}/qr?format=raw").decode())})
    wait_until("it is connected", lambda: api.call("GET", path)["state"] == "connected")
    for number in [LINKED, *PHONES]:
        webhook = api.call("POST", "/api/webhooks/register", {"phone_number": number, "webhook_url": f"{here}/good"})
        receiver.secrets.append(webhook["signing_secret"])


class Story:
    """What became of the messages."""

    def __init__(self, flow, receiver):
        self.flow, self.receiver, self.told = flow, receiver, set()

    def tell(self, seconds):
        """Lets time pass, and tells of the messages that were accepted until then."""
        time.sleep(seconds)
        mine = {message: at for message, at in dict(self.flow.accepted).items() if message not in self.told}
        self.told |= set(mine)
        came = self.came()
        wait_until("all of these have come", lambda: set(mine) <= set(self.came()))
        came = self.came()
        late = sorted(came[message][0] - at for message, at in mine.items())
        twice = sum(len(came[message]) - 1 for message in mine)
        slow = sum(1 for one in late if one > 1)
        print(f"  {len(mine)} accepted, all of them delivered; {slow} later than a second, the last one after {max(late):.1f} s; {twice} came twice")

    def came(self):
        came = {}
        with self.receiver.lock:
            for at, _, message, _, status in self.receiver.received:
                if status == 204:
                    came.setdefault(message, []).append(at)
        return came

    def end(self):
        print()
        wait_until("everything has come", lambda: set(self.flow.accepted) <= set(self.came()))
        accepted, came = self.flow.accepted, self.came()
        expect(all(ok for _, _, _, ok, _ in self.receiver.received), "every signature was verified")
        expect(set(accepted) <= set(came), f"of {len(accepted)} accepted messages none was lost")
        twice = sum(len(times) - 1 for times in came.values())
        expect(twice <= 64, f"{twice} came twice, each under the webhook-id that it had before")


def kill_a_deliver_node(nodes, story):
    busiest = max((nodes["deliver-1"], nodes["deliver-2"]), key=lambda node: node.metric("wahook_delivery_attempt_duration_seconds_count"))
    print(f"\nkill -9 {busiest.name}: another node takes its numbers within some seconds, and what it had in hand after {ACK_WAIT_SECONDS} s")
    busiest.kill()
    story.tell(AFTER_SECONDS)


def kill_a_server(servers, story):
    leader = wait_until("the servers have a leader", lambda: servers[0].monitored("jsz").get("meta_cluster", {}).get("leader"))
    victim = next(server for server in servers if server.name == leader)
    print(f"\nkill -9 nats-server {leader}, which leads the others: they elect another one, and nodes that were connected to it go there")
    victim.process.kill()
    victim.process.wait()
    story.tell(AFTER_SECONDS)
    print(f"  starting {leader} again: it gets what it has missed")
    victim.start(servers)
    wait_until(f"{leader} has all that the others have", victim.healthy)


def kill_the_session(nodes, story):
    print("\nkill -9 ingest-1, which runs the WhatsApp session: the other one connects the phone, and WhatsApp sends what it kept")
    nodes["ingest-1"].kill()
    story.tell(AFTER_SECONDS)


if __name__ == "__main__":
    main()
