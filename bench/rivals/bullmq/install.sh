#!/usr/bin/env bash
# Puts what the rival needs where it disturbs nothing: npm packages (by the lock file) beside this script, and, where the
# machine has none, redis-server and PostgreSQL from Debian packages that are unpacked into .tools/rivals. Nothing is
# installed into the system, no service is started. Does nothing when all is there already.
set -euo pipefail
cd "$(dirname "$0")"
tools=$(cd ../../.. && pwd)/.tools/rivals

for program in node npm; do
  command -v "$program" > /dev/null || { echo "the rival needs $program: install Node.js 20 or newer" >&2; exit 1; }
done

if [ ! -d node_modules ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "installing BullMQ, axios and pg from npm into bench/rivals/bullmq/node_modules"
  npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error
fi

# unpack PACKAGE: it and those of its dependencies that the system lacks.
unpack() {
  command -v apt-get > /dev/null || { echo "the rival needs $1: install it, there is no apt-get here" >&2; exit 1; }
  echo "unpacking the Debian package $1 and what it depends on into .tools/rivals"
  local debs packages
  debs=$(mktemp -d)
  # The list may be older than what the mirror still has; then `apt-get update` helps.
  packages=$(apt-get install --simulate --no-install-recommends "$1" | awk '/^Inst/ { print $2 }')
  (cd "$debs" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" $packages)
  mkdir -p "$tools"
  for deb in "$debs"/*.deb; do dpkg-deb --extract "$deb" "$tools"; done
  rm -r "$debs"
}

. ./find.sh
[ -n "$(find_redis)" ] || unpack redis-server
[ -n "$(find_postgres)" ] || unpack postgresql
