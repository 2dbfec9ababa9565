#!/usr/bin/env bash
# Installs Apache Cassandra from Maven Central into .tools, for the tests of the CQL store. It needs
# JDK 17 and Maven. Without them it prints a warning and succeeds; with CI set it fails, because the
# CI skips nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's|.*<version>\(5[0-9.]*\)</version>.*|\1|p' tests/cassandra/pom.xml)
lib=.tools/cassandra-$version

if [ -e "$lib/complete" ]; then
  exit 0
fi
missing() {
  printf '\n*** %s\n' "$1" >&2
  printf '*** THE TESTS OF THE CQL STORE (ScyllaDB, Cassandra) ARE SKIPPED.\n\n' >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
}
scripts/find-java.sh >/dev/null \
  || missing "There is no JDK 17, which Cassandra $version needs; newer ones do not work."
command -v mvn >/dev/null || missing "There is no Maven (mvn), which downloads Cassandra."

echo "installing Cassandra $version from Maven Central into .tools"
rm -rf "$lib"
mvn --batch-mode --quiet --file tests/cassandra/pom.xml \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$PWD/$lib" \
  || missing "Maven could not download Cassandra $version."
touch "$lib/complete"
