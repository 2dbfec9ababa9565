"""Turns the OpenAPI document of Kubernetes into a JSON Schema for each kind that the chart uses: OPENAPI FOLDER.

Objects take no fields but their own, so that a misspelt one is found.
"""

import json
import sys
from pathlib import Path

KINDS = {
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget",
    "Service", "StatefulSet",
}
PREFIX = "#/definitions/"


def strict(node):
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    node = {name: strict(value) for name, value in node.items() if not name.startswith("x-kubernetes-") and name != "format"}
    if isinstance(node.get("properties"), dict):
        node.setdefault("additionalProperties", False)
    return node


def used(name, definitions, found):
    """The definitions that one refers to, and those that these do."""
    if name not in found:
        found[name] = definitions[name]
        for other in json.dumps(definitions[name]).split(f'"{PREFIX}')[1:]:
            used(other.split('"')[0], definitions, found)
    return found


def main():
    source, folder = map(Path, sys.argv[1:])
    original = json.loads(source.read_text())["definitions"]
    definitions = {name: strict(value) for name, value in original.items()}
    # A quantity may be a number, and `1` is what people write.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    folder.mkdir(parents=True, exist_ok=True)
    made = set()
    for name, value in original.items():
        for one in value.get("x-kubernetes-group-version-kind", []):
            if one["kind"] in KINDS and len(value["x-kubernetes-group-version-kind"]) == 1:
                schema = {"$ref": PREFIX + name, "definitions": used(name, definitions, {})}
                Path(folder, f"{one['kind'].lower()}-{one['version']}.json").write_text(json.dumps(schema))
                made.add(one["kind"])
    if made != KINDS:
        sys.exit(f"not in {source}: {KINDS - made}")


if __name__ == "__main__":
    main()
