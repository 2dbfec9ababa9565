"""Makes a JSON Schema for each kind that the chart uses: FOLDER OPENAPI DEFINITION…

Those of Kubernetes come from its OpenAPI document, those of operators from their custom resource definitions. Objects take no fields but their own, so that a misspelt one is found.
"""

import json
import sys
from pathlib import Path

import yaml

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


def of_kubernetes(source, folder):
    original = json.loads(source.read_text())["definitions"]
    definitions = {name: strict(value) for name, value in original.items()}
    # A quantity may be a number, and `1` is what people write.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    made = set()
    for name, value in original.items():
        for one in value.get("x-kubernetes-group-version-kind", []):
            if one["kind"] in KINDS and len(value["x-kubernetes-group-version-kind"]) == 1:
                schema = {"$ref": PREFIX + name, "definitions": used(name, definitions, {})}
                write(folder, one["kind"], one["version"], schema)
                made.add(one["kind"])
    if made != KINDS:
        sys.exit(f"not in {source}: {KINDS - made}")


def of_operator(source, folder):
    definition = yaml.safe_load(source.read_text())["spec"]
    for version in definition["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        # What each object has, and no definition of a custom resource repeats.
        schema["properties"]["metadata"] = {"type": "object"}
        write(folder, definition["names"]["kind"], version["name"], schema)


def write(folder, kind, version, schema):
    Path(folder, f"{kind.lower()}-{version}.json").write_text(json.dumps(schema))


def main():
    folder, openapi, *definitions = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    of_kubernetes(openapi, folder)
    for definition in definitions:
        of_operator(definition, folder)


if __name__ == "__main__":
    main()
