"""The Helm chart with each set of values: lint, manifests that Kubernetes takes, and settings and command lines that the real
executable takes. What must be refused is refused.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import node_settings
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/wahook"
HELM = ROOT / ".tools/bin/helm"
KUBECONFORM = ROOT / ".tools/bin/kubeconform"
SCHEMAS = str(ROOT / ".tools/schemas") + "/{{ .ResourceKind }}-{{ .ResourceAPIVersion }}.json"
# Values that cannot work, and a word of the refusal.
REFUSED = {
    "secretsKeys.secret=": "secretsKeys.secret",
    "settings.store.kind=sqlite": "single.enabled",
    "settings.whatsapp.keys=files": "single.enabled",
    "workloads.deliver.autoscale.max=9": "partitions",
    "single.enabled=true": "SQLite",
}
WORKLOADS = {"Deployment", "StatefulSet", "Job"}


def helm(*arguments):
    return subprocess.run([HELM, *map(str, arguments)], capture_output=True, text=True)


def rendered(values):
    """The manifests of a set of values."""
    linted = helm("lint", "--strict", "--quiet", CHART, "--values", values)
    if linted.returncode != 0:
        sys.exit(f"{values.name}: {linted.stdout}{linted.stderr}")
    done = helm("template", "wahook", CHART, "--values", values)
    if done.returncode != 0:
        sys.exit(f"{values.name}: {done.stderr}")
    return done.stdout


def conforms(name, text):
    command = [KUBECONFORM, "-strict", "-summary", "-schema-location", SCHEMAS, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    print(f"{name}: {done.stdout.strip().splitlines()[-1]}")
    if done.returncode != 0:
        yield f"{name}: {done.stdout}{done.stderr}"


def mounted(pod, configs, folder):
    """Writes what a pod would have in its volumes below the folder; the folder of each mount."""
    sources = {}
    for volume in pod["volumes"]:
        place = Path(folder, volume["name"])
        place.mkdir()
        if "configMap" in volume:
            for name, content in configs[volume["configMap"]["name"]].items():
                Path(place, name).write_text(content)
        for item in volume.get("secret", {}).get("items", []):
            make = node_settings.keys_file if volume["name"] == "keys" else node_settings.certificate
            make(Path(place, item["path"]))
        sources[volume["name"]] = place
    return sources


def settings_faults(place, pod, configs, folder):
    """Asks with paths of the container turned into those below the folder."""
    sources = mounted(pod, configs, folder)
    for container in pod["containers"]:
        moved = {mount["mountPath"]: sources.get(mount["name"], Path(folder)) for mount in container["volumeMounts"]}
        paths = re.compile("|".join(re.escape(f"{path}/") for path in sorted(moved, key=len, reverse=True)))

        def here(text, moved=moved, paths=paths):
            return paths.sub(lambda found: f"{moved[found[0].removesuffix('/')]}/", text)

        config = Path(here(container["args"][container["args"].index("--config") + 1]))
        config.write_text(here(config.read_text()))
        env = {one["name"]: one.get("value", "from-a-secret") for one in container.get("env") or []}
        yield from node_settings.faults(place, env, config)
        yield from node_settings.command_faults(place, container["args"])
        if "serve" in container["args"]:
            yield from node_settings.stop_faults(place, pod["terminationGracePeriodSeconds"], env, config)


def login_faults(place, pod):
    """Whether nats/cluster.conf knows the user of a process, and lets it hear the replies that it asks for."""
    servers = (ROOT / "nats/cluster.conf").read_text()
    for container in pod["containers"]:
        env = {one["name"]: one for one in container.get("env") or []}
        if "WAHOOK__NATS__INBOX_PREFIX" not in env:
            continue
        user = env["WAHOOK__NATS__USER"]["value"]
        block = re.search(rf"user: {user}, password: \$(\w+)(.*?)(?=user: |\Z)", servers, re.DOTALL)
        if not block or env["WAHOOK__NATS__PASSWORD"]["valueFrom"]["secretKeyRef"]["key"] != user:
            yield f"{place}: nats/cluster.conf has no user {user}, or its password is another's"
        elif "subscribe:" in block[2] and f'"{env["WAHOOK__NATS__INBOX_PREFIX"]["value"]}.>"' not in block[2]:
            yield f"{place}: nats/cluster.conf lets {user} hear no replies"


def hardening_faults(place, pod):
    if pod.get("automountServiceAccountToken") is not False or not pod["securityContext"].get("runAsNonRoot"):
        yield f"{place}: runs as root, or with a token of the cluster"
    for container in pod["containers"]:
        context = container["securityContext"]
        if not context["readOnlyRootFilesystem"] or context["capabilities"] != {"drop": ["ALL"]} or context["allowPrivilegeEscalation"]:
            yield f"{place}: more rights than it needs"
        if "memory" not in container["resources"].get("limits", {}):
            yield f"{place}: no limit of memory"


def faults_of(values):
    text = rendered(values)
    yield from conforms(values.name, text)
    manifests = [one for one in yaml.safe_load_all(text) if one]
    configs = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    asked = 0
    for one in manifests:
        if one["kind"] not in WORKLOADS:
            continue
        place = f"{values.name}, {one['kind']} {one['metadata']['name']}"
        pod = one["spec"]["template"]["spec"]
        volumes = pod["volumes"] + [{"name": claim["metadata"]["name"]} for claim in one["spec"].get("volumeClaimTemplates", [])]
        yield from hardening_faults(place, pod)
        yield from login_faults(place, pod)
        if one["kind"] != "Job" and any(probe not in pod["containers"][0] for probe in ("startupProbe", "livenessProbe", "readinessProbe")):
            yield f"{place}: lacks a probe"
        with tempfile.TemporaryDirectory() as folder:
            yield from settings_faults(place, pod | {"volumes": volumes}, configs, folder)
        asked += 1
    print(f"{values.name}: wahook was asked about {asked} workloads")


def refusal_faults():
    base = CHART / "examples/production.yaml"
    for change, word in REFUSED.items():
        done = helm("template", "wahook", CHART, "--values", base, "--set", change)
        if done.returncode == 0 or word not in done.stderr:
            yield f"--set {change} is not refused with a word on {word}: {done.stderr.strip()}"


def main():
    faults = list(refusal_faults())
    for values in sorted((CHART / "examples").glob("*.yaml")):
        faults += faults_of(values)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
