#!/usr/bin/env bash
# Installs what other people wrote for receiving webhooks into .tools/receivers, at fixed versions:
# the tests hand real deliveries to it. Needs Python 3, Node.js and Go.
set -euo pipefail
cd "$(dirname "$0")/.."

python_packages="pywa==4.5.0 standardwebhooks==1.1.0 svix==2.9.1 waha-py==2026.9.2"
node_packages="whatsapp-api-js@6.3.0 standardwebhooks@1.1.1 svix@2.5.0"
folder=.tools/receivers

# Runs the rest of its arguments unless the part was installed in these versions.
unless_there() {
  local part=$1 versions=$2
  shift 2
  if [ "$(cat "$folder/$part.installed" 2> /dev/null)" = "$versions" ]; then return; fi
  echo "installing receivers for $part into $folder: $versions"
  "$@"
  echo "$versions" > "$folder/$part.installed"
}

python() {
  python3 -m venv "$folder/python"
  # shellcheck disable=SC2086
  "$folder/python/bin/pip" install --quiet --disable-pip-version-check $python_packages
}

node() {
  mkdir -p "$folder/node"
  echo '{"private": true}' > "$folder/node/package.json"
  # shellcheck disable=SC2086
  npm install --prefix "$folder/node" --silent --no-audit --no-fund --save-exact $node_packages
}

go_program() {
  (cd tests/receivers/go && GOFLAGS=-mod=readonly go build -o "../../../$folder/verify-go" .)
}

mkdir -p "$folder"
unless_there python "$python_packages" python
unless_there node "$node_packages" node
unless_there go "$(cat tests/receivers/go/go.mod tests/receivers/go/main.go | sha256sum)" go_program
