#!/usr/bin/env bash
# Runs one Cassandra node on 127.0.0.1 as long as standard input stays open. Then it ends the node
# by its process id and removes its data. The process that starts this script holds the other end
# of the pipe, so the node ends with that process, even if that is killed.
#
# usage: run-cassandra.sh PORT STORAGE_PORT SSL_STORAGE_PORT
#
# Prints "ready" once the node accepts CQL clients.
# CASSANDRA_OPTIONS are passed to Java. The file CASSANDRA_MORE contains further settings. With
# CASSANDRA_KEEP=DIR the data are in DIR; the end of the node writes them to disk and keeps them.
set -euo pipefail
cd "$(dirname "$0")/.."

port=$1
version=$(sed -n 's|.*<version>\(5[0-9.]*\)</version>.*|\1|p' tests/cassandra/pom.xml)
lib=$PWD/.tools/cassandra-$version
java=$(scripts/find-java.sh)
dir=${CASSANDRA_KEEP:-$(mktemp -d "${TMPDIR:-/tmp}/wahook-cassandra-XXXXXX")}
mkdir -p "$dir/tmp"
sed -e "s|@DIR@|$(basename "$dir")|" -e "s|@PORT@|$port|" \
  -e "s|@STORAGE_PORT@|$2|" -e "s|@SSL_STORAGE_PORT@|$3|" \
  tests/cassandra/cassandra.yaml > "$dir/cassandra.yaml"
[ -z "${CASSANDRA_MORE:-}" ] || cat "$CASSANDRA_MORE" >> "$dir/cassandra.yaml"

# Ctrl-C in a terminal reaches the whole process group; only the end of standard input counts.
trap '' INT
# The server needs jamm to measure statements on this version of Java.
"$java" @tests/cassandra/jvm.args -javaagent:"$lib/jamm-0.4.0.jar" \
  -Dcassandra.config="file://$dir/cassandra.yaml" -Dcassandra.storagedir="$dir/data" \
  -Dcassandra.logdir="$dir/log" -Dcassandra-foreground=yes \
  -Dlogback.configurationFile="$PWD/tests/cassandra/logback.xml" \
  -Dcassandra.unsafesystem=true -Dcassandra.test.flush_local_schema_changes=false \
  -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=1000 \
  -Dcassandra.superuser_setup_delay_ms=0 -Djava.io.tmpdir="$dir/tmp" ${CASSANDRA_OPTIONS:-} \
  -cp "$lib/*" org.apache.cassandra.service.CassandraDaemon > "$dir/log.txt" 2>&1 < /dev/null &
node=$!

for _ in $(seq 1 1200); do
  if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
    echo ready
    break
  fi
  if ! kill -0 "$node" 2> /dev/null; then
    tail -20 "$dir/log.txt" >&2
    break
  fi
  sleep 0.1
done

cat > /dev/null || true
if [ -n "${CASSANDRA_KEEP:-}" ]; then
  # A normal end writes the tables to disk.
  kill -TERM "$node" 2> /dev/null || true
  wait "$node" 2> /dev/null || true
else
  kill -KILL "$node" 2> /dev/null || true
  wait "$node" 2> /dev/null || true
  rm -rf "$dir"
fi
