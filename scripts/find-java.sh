#!/usr/bin/env bash
# Prints the path of a java of version 17, the newest that Cassandra 5.0 runs on; fails when there is none.
set -euo pipefail

for java in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*17*/bin/java; do
  if [ -x "$java" ] && "$java" -version 2>&1 | grep -q 'version "17\.'; then
    echo "$java"
    exit 0
  fi
done
exit 1
