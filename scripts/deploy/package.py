"""Installs the Debian package into a fresh root, starts it there as its unit says, delivers a message, and removes it: DEB ROOT.

There is no systemd in such a root, so this reads the unit and does what systemd would: the folder, the user, the variables, the
commands. Needs root.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
import demo
from receiver import Receiver

PHONE = demo.PHONES["good"]
UNIT = "usr/lib/systemd/system/wahook.service"
ENVIRONMENT = "etc/wahook/wahook.env"


def inside(root, *command, **options):
    return subprocess.run(["chroot", root, *command], check=True, text=True, **options)


def unit_of(root):
    """The lines of the unit: a list of values for each name."""
    found = {}
    for line in Path(root, UNIT).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def variables_of(root):
    """The environment that the unit's file of variables gives, and no other."""
    lines = Path(root, ENVIRONMENT).read_text().splitlines()
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"} | dict(line.split("=", 1) for line in lines)


def as_service(root, command, env):
    """Starts a command of the unit as its user, in its folder."""
    unit = unit_of(root)
    folder = unit["WorkingDirectory"][0]
    user = f"--userspec={unit['User'][0]}:{unit['Group'][0]}"
    script = f"umask {unit['UMask'][0]}; cd {folder} && exec {command}"
    return subprocess.Popen(["chroot", user, root, "sh", "-c", script], env=env, stdout=subprocess.PIPE, text=True)


def output_of(root, command, env):
    process = as_service(root, command, env)
    said = process.communicate(timeout=demo.PATIENCE_SECONDS)[0]
    if process.returncode != 0:
        sys.exit(f"{command}: exit code {process.returncode}")
    return said


def install(root, package):
    shutil.copy(package, Path(root, "wahook.deb"))
    inside(root, "dpkg", "--install", "/wahook.deb", stdout=subprocess.DEVNULL)
    unit = unit_of(root)
    # What StateDirectory= does.
    state = f"/var/lib/{unit['StateDirectory'][0]}"
    inside(root, "install", "-d", "-o", unit["User"][0], "-g", unit["Group"][0], "-m", unit["StateDirectoryMode"][0], state)


def deliver(base, token):
    api = demo.Api(base, token)
    receiver = Receiver(0)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{receiver.server_address[1]}/good"
    webhook = api.call("POST", "/api/webhooks/register", {"phone_number": PHONE, "webhook_url": here})
    receiver.secrets.append(webhook["signing_secret"])
    demo.publish(api, "good", "PACKAGE")
    demo.wait_until("the message is delivered", lambda: receiver.received)
    _, _, message, is_verified, status = receiver.received[0]
    demo.expect((message, is_verified, status) == ("PACKAGE", True, 204), "a message was delivered, and its signature is right")


def serve(root, env, probes, base):
    unit = unit_of(root)
    output_of(root, "wahook check-config --config /etc/wahook/wahook.toml", env)
    for command in unit["ExecStartPre"]:
        output_of(root, command, env)
    service = as_service(root, unit["ExecStart"][0], env)
    try:
        demo.wait_until("the service is ready", lambda: service.poll() is None and demo.ready(f"{probes}/readyz"))
        output_of(root, "wahook healthcheck --config /etc/wahook/wahook.toml", env)
        command = "wahook token create --client 1 --config /etc/wahook/wahook.toml"
        deliver(base, output_of(root, command, env).strip().splitlines()[-1])
    finally:
        service.terminate()
        code = service.wait(timeout=demo.PATIENCE_SECONDS)
    demo.expect(code == 0, "SIGTERM ended it cleanly")
    limit = int(unit["TimeoutStopSec"][0].removesuffix("s"))
    demo.expect(limit > 30, f"the unit gives it {limit} s for that")


def remove(root):
    inside(root, "dpkg", "--remove", "wahook", stdout=subprocess.DEVNULL)
    gone = not Path(root, "usr/bin/wahook").exists() and not Path(root, UNIT).exists()
    demo.expect(gone and Path(root, "var/lib/wahook/secrets.keys").exists(), "removing it leaves the data and the key")
    inside(root, "dpkg", "--purge", "wahook", stdout=subprocess.DEVNULL)
    demo.expect(not Path(root, "etc/wahook/wahook.toml").exists(), "purging it takes its settings away")


def main():
    package, root = sys.argv[1:]
    nats, monitor, api, admin = (next(demo.PORTS) for _ in range(4))
    install(root, package)
    Path(root, ENVIRONMENT).write_text(
        f"WAHOOK__NATS__URL=nats://127.0.0.1:{nats}\nWAHOOK__API__LISTEN=127.0.0.1:{api}\nWAHOOK__ADMIN__LISTEN=127.0.0.1:{admin}\n"
        # The receiver is on this machine.
        "WAHOOK__EGRESS__ALLOW_HTTP=true\nWAHOOK__EGRESS__ALLOW_CIDRS=127.0.0.0/8\nWAHOOK__LOG__FILTER=warn\n"
    )
    with tempfile.TemporaryDirectory(prefix="wahook-package-") as folder:
        listen = ["--addr", "127.0.0.1", "--port", str(nats), "--http_port", str(monitor), "--store_dir", folder]
        server = subprocess.Popen([demo.NATS_SERVER, "--config", ROOT / "nats/dev.conf", *listen], stderr=subprocess.DEVNULL)
        try:
            demo.wait_until("nats-server is ready", lambda: demo.ready(f"http://127.0.0.1:{monitor}/healthz"))
            serve(root, variables_of(root), f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{api}")
        finally:
            server.terminate()
            server.wait(timeout=demo.PATIENCE_SECONDS)
    remove(root)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
