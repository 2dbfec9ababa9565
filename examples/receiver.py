#!/usr/bin/env python3
"""A sample receiver of webhooks: verifies each signature and says what it got.

/good answers 204, /flaky answers 500 to the first two tries of each event, /reject answers 400.

    python3 examples/receiver.py 9000 whsec_...
"""

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 300


def verified(secrets, headers, body, now=None):
    """Whether one of the signatures is ours and fresh (Standard Webhooks, v1)."""
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs((now or time.time()) - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    given = headers.get("webhook-signature", "").split(" ")
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        if any(hmac.compare_digest(expected, one) for one in given):
            return True
    return False


def message_id(body):
    """What a body calls its message, in every format; "" if it is about none, as a notice."""
    value = json.loads(body)
    if "message_id" in value:  # native
        return value["message_id"]
    if "payload" in value:  # waha
        payload = value["payload"]
        return (payload.get("after") or payload).get("id", "")
    if "data" in value and "instance" in value:  # evolution
        data = value["data"]
        return data.get("keyId") or data.get("id") or data.get("key", {}).get("id", "")
    if "entry" in value:  # cloud
        change = value["entry"][0]["changes"][0]["value"]
        for name in ("messages", "message_echoes", "statuses"):
            if name in change:
                return change[name][0]["id"]
    return ""


class Receiver(ThreadingHTTPServer):
    """Remembers what came: (time, path, message id, signature verified, status answered)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, secrets=()):
        super().__init__(("127.0.0.1", port), Handler)
        self.secrets = list(secrets)
        self.received = []
        self.tries = {}
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        ok = verified(self.server.secrets, self.headers, body)
        # Nothing is read before the signature is known to be right.
        message = (message_id(body) or self.headers["webhook-id"]) if ok else ""
        with self.server.lock:
            tries = self.server.tries[self.headers["webhook-id"]] = self.server.tries.get(self.headers["webhook-id"], 0) + 1
            status = self.status(ok, tries)
            self.server.received.append((time.time(), self.path, message, ok, status))
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def status(self, ok, tries):
        if not ok:
            return 401
        if self.path.startswith("/reject"):
            return 400
        if self.path.startswith("/flaky") and tries <= 2:
            return 500
        return 204

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    server = Receiver(int(sys.argv[1]), sys.argv[2:])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shown = 0
    try:
        while True:
            for at, path, message, ok, status in server.received[shown:]:
                shown += 1
                signature = "signature verified" if ok else "SIGNATURE WRONG"
                print(f"{time.strftime('%H:%M:%S', time.localtime(at))} {path} {message}: {signature}, answered {status}", flush=True)
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
