"""The files for Docker Compose: it takes them, each process of wahook would take its settings and its command line, and
every container has a health check or ends, a limit of memory, and no more rights than it needs.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import node_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / ".tools/bin/compose-spec"
FILES = ["compose.small.yaml", "compose.yaml"]
# What cannot run without them, and why.
WRITES_ITS_ROOT = {"scylla": "its start script writes /etc/scylla"}
KEEPS_RIGHTS = {"scylla": "its start script changes owners"}


def model_of(file):
    """What a file says, as Docker Compose understands it."""
    done = subprocess.run([COMPOSE, "--format", "json", file], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{file}: {done.stderr}")
    return json.loads(done.stdout)


def ends(service):
    return service.get("restart") in ("on-failure", "no")


def missing(name, model):
    """Services and volumes that a file names and does not have. The reader leaves that to what runs them."""
    for one, service in model["services"].items():
        for other in service.get("depends_on", {}):
            if other not in model["services"]:
                yield f"{name}, {one}: depends on {other}, which is not there"
        for volume in service.get("volumes", []):
            if volume["type"] == "volume" and volume.get("source") not in model.get("volumes", {}):
                yield f"{name}, {one}: there is no volume {volume.get('source')}"


def container_faults(place, name, service):
    if not ends(service) and not service.get("healthcheck"):
        yield f"{place}: no healthcheck"
    if not service.get("mem_limit"):
        yield f"{place}: no mem_limit"
    if not service.get("read_only") and name not in WRITES_ITS_ROOT:
        yield f"{place}: not read_only"
    if service.get("cap_drop") != ["ALL"] and name not in KEEPS_RIGHTS:
        yield f"{place}: keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield f"{place}: without no-new-privileges"


def wahook_faults(place, service, folder):
    env = dict(service.get("environment", {}))
    if "WAHOOK__SECRETS__KEYS_FILE" in env:
        # The path in the container is not one here.
        keys = Path(folder, "secrets.keys")
        node_settings.keys_file(keys)
        env["WAHOOK__SECRETS__KEYS_FILE"] = str(keys)
    yield from node_settings.faults(place, env)
    if service.get("command") and not service.get("entrypoint"):
        yield from node_settings.command_faults(place, service["command"])
        if "serve" in service["command"]:
            # Docker's own limit is ten seconds.
            limit = node_settings.seconds(service.get("stop_grace_period", "10s"))
            yield from node_settings.stop_faults(place, limit, env)


def main():
    faults = []
    for name in FILES:
        file = ROOT / "deploy" / name
        model = model_of(file)
        found = model["services"]
        faults += missing(name, model)
        asked = 0
        for one, service in found.items():
            place = f"{name}, {one}"
            faults += container_faults(place, one, service)
            if service["image"].startswith("wahook"):
                asked += 1
                with tempfile.TemporaryDirectory() as folder:
                    faults += wahook_faults(place, service, folder)
        print(f"{name}: {len(found)} services, {asked} of them wahook's")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
