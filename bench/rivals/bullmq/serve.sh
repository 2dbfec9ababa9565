#!/usr/bin/env bash
# Runs Redis and PostgreSQL on 127.0.0.1 for as long as standard input stays open, then ends both by their ids and removes
# their data. Whoever starts this holds the pipe, so however that process ends, the servers end with it.
#
# usage: serve.sh REDIS_PORT POSTGRES_PORT
# prints "redis <id>", "postgres <id>", their versions, and "ready" once both answer and the tables are there.
set -euo pipefail
cd "$(dirname "$0")"
tools=$(cd ../../.. && pwd)/.tools/rivals
. ./find.sh
redis_port=$1
postgres_port=$2
redis=$(find_redis)
postgres=$(find_postgres)
[ -n "$redis" ] && [ -n "$postgres" ] || { echo "no redis-server or PostgreSQL: run bench/rivals/bullmq/install.sh" >&2; exit 1; }
if [ -d "$tools" ]; then
  export LD_LIBRARY_PATH="$tools/usr/lib/$(uname -m)-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

# PostgreSQL does not run as root.
as_user=()
[ "$(id -u)" != 0 ] || as_user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
dir=$(mktemp -d "${TMPDIR:-/tmp}/wahook-rival-XXXXXX")
mkdir "$dir/redis" "$dir/postgres"
[ "$(id -u)" != 0 ] || { chmod 755 "$dir"; chown nobody:nogroup "$dir/postgres"; }
children=()
end() {
  for child in "${children[@]}"; do kill -INT "$child" 2> /dev/null || true; done
  for child in "${children[@]}"; do wait "$child" 2> /dev/null || true; done
  rm -rf "$dir"
}
# Ctrl-C in a terminal reaches the whole group: the end of standard input is what counts.
trap '' INT
trap end EXIT

# AOF with one fsync a second, and no snapshots: as queues on Redis are mostly run.
"$redis" --bind 127.0.0.1 --port "$redis_port" --dir "$dir/redis" --appendonly yes --appendfsync everysec \
  --save '' --maxmemory-policy noeviction --loglevel warning > "$dir/redis.log" 2>&1 < /dev/null &
children+=($!)
echo "redis $!"

(cd "$dir/postgres" && "${as_user[@]}" "$postgres/initdb" --pgdata="$dir/postgres/data" --username=rival --auth=trust --encoding=UTF8 \
  --locale=C --no-sync > "$dir/postgres/initdb.log" 2>&1) || { cat "$dir/postgres/initdb.log" >&2; exit 1; }
# Commits wait for the disk, as by default. Room enough that no checkpoint falls into a short run.
"${as_user[@]}" "$postgres/postgres" -D "$dir/postgres/data" -p "$postgres_port" \
  -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c synchronous_commit=on -c fsync=on \
  -c shared_buffers=256MB -c max_wal_size=4GB -c wal_compression=on > "$dir/postgres.log" 2>&1 < /dev/null &
children+=($!)
echo "postgres $!"
echo "versions $("$redis" --version | sed 's/.* v=\([^ ]*\).*/Redis \1/'), $("$postgres/postgres" --version | sed 's/[^0-9]*\([0-9.]*\).*/PostgreSQL \1/')"

answers() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
for _ in $(seq 1 600); do
  if answers "$redis_port" && answers "$postgres_port" \
    && SCHEMA=schema.sql REDIS_PORT=$redis_port POSTGRES_PORT=$postgres_port node prepare.mjs 2> "$dir/prepare.log"; then
    echo ready
    break
  fi
  for child in "${children[@]}"; do
    kill -0 "$child" 2> /dev/null || { cat "$dir"/*.log >&2; exit 1; }
  done
  sleep 0.1
done

cat > /dev/null || true
