#!/usr/bin/env bash
# Puts Apache Cassandra into .tools, from Maven Central: the tests of the CQL store run on it. Needs JDK 17 and Maven.
# Without them it says so and succeeds, unless CI is set: there nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's|.*<version>\(5[0-9.]*\)</version>.*|\1|p' tests/cassandra/pom.xml)
lib=.tools/cassandra-$version

if [ -e "$lib/complete" ]; then
  exit 0
fi
missing() {
  printf '\n*** %s\n*** THE TESTS OF THE CQL STORE (ScyllaDB, Cassandra) WILL BE LEFT OUT.\n\n' "$1" >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
}
scripts/find-java.sh >/dev/null || missing "There is no JDK 17, which Cassandra $version needs (nothing newer will do)."
command -v mvn >/dev/null || missing "There is no Maven (mvn), which brings Cassandra."

echo "installing Cassandra $version from Maven Central into .tools"
rm -rf "$lib"
mvn --batch-mode --quiet --file tests/cassandra/pom.xml \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$PWD/$lib" || missing "Maven could not bring Cassandra $version."
touch "$lib/complete"
