#!/usr/bin/env bash
# Runs what the chart's small values make on a read-only root, as their user, with the two folders that a pod can write to, until
# it is ready; then a role for each workload of the others that has no store: ROOT SETTINGS, a root of Debian and a file.
# WAHOOK_BIN is the executable. Needs root, and mounts of its own (`unshare --mount`).
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$1 settings=$2
user=10001
read -r nats api admin <<< "$(python3 -c '
import sys
sys.path.insert(0, "examples")
import demo
print(*(next(demo.PORTS) for _ in range(3)))')"
export WAHOOK__NATS__URL=nats://127.0.0.1:$nats WAHOOK__LOG__FILTER=warn
export WAHOOK__API__LISTEN=127.0.0.1:$api WAHOOK__ADMIN__LISTEN=127.0.0.1:$admin

mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root"/{data,etc/wahook,etc/wahook-keys}
install -m 755 "$WAHOOK_BIN" "$root/usr/local/bin/wahook"
install -m 644 "$settings" "$root/etc/wahook/wahook.toml"
# As Kubernetes hands out a Secret with `fsGroup` and `defaultMode: 0440`.
chroot "$root" wahook secrets new-key > "$root/etc/wahook-keys/secrets.keys"
chown "0:$user" "$root/etc/wahook-keys/secrets.keys"
chmod 440 "$root/etc/wahook-keys/secrets.keys"
unset WAHOOK_BIN
mount -o remount,ro,bind "$root"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o "mode=770,gid=$user" data "$root/data"

inside() { exec chroot --userspec="$user:$user" "$root" "$@"; }
wahook() { inside wahook --config /etc/wahook/wahook.toml "$@"; }
until_ready() {
  local end=$((SECONDS + 60))
  until (wahook healthcheck) > /dev/null 2>&1; do
    if [ $SECONDS -gt $end ] || ! kill -0 "$1" 2> /dev/null; then
      (wahook healthcheck)
      echo "not ready: $2" >&2
      exit 1
    fi
  done
}
serve() {
  (wahook "$@") &
  local process=$!
  until_ready $process "$*"
  kill $process
  wait $process
  echo "  ok: ready, and ended cleanly: $*"
}

if (inside touch /usr/here) 2> /dev/null; then
  echo "the root can be written to" >&2
  exit 1
fi
mkdir "$root/tmp/nats"
.tools/bin/nats-server --config nats/dev.conf --addr 127.0.0.1 --port "$nats" --store_dir "$root/tmp/nats" 2> /dev/null &
server=$!
trap 'kill $server; wait $server' EXIT
end=$((SECONDS + 30))
until (: < "/dev/tcp/127.0.0.1/$nats") 2> /dev/null; do
  [ $SECONDS -lt $end ] || { echo "nats-server does not answer" >&2; exit 1; }
done
(wahook bus apply) | tail -1
serve serve --roles api,ingest,deliver,record
for role in ingest deliver; do
  serve --set whatsapp.keys=jetstream --set store.kind=cql serve --roles $role
done
