#!/usr/bin/env bash
# Prints the path of a Java 17, the newest version that Cassandra 5.0 runs on, or fails.
set -euo pipefail

on_path=$(command -v java || true)
for java in "${JAVA_HOME:-/nowhere}/bin/java" "$on_path" /usr/lib/jvm/*17*/bin/java; do
  if [ -x "$java" ] && "$java" -version 2>&1 | grep -q 'version "17\.'; then
    echo "$java"
    exit 0
  fi
done
exit 1
