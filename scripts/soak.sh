#!/usr/bin/env bash
# Runs the demo and the whole suite again and again beside two busy loops, and prints a table of what came of it:
# `make soak`, or scripts/soak.sh ROUNDS. What fails only now and then, or only on a busy machine, shows here.
#
# BUSY sets the number of busy loops. Logs are kept in target/soak.
set -uo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5}
busy=${BUSY:-2}
logs=target/soak
mkdir -p "$logs"
rm -f "$logs"/*.log

loops=()
stop_loops() {
  for loop in "${loops[@]}"; do
    kill "$loop" 2> /dev/null
  done
}
trap stop_loops EXIT

# Built before the loops begin: how long the compiler takes is not the point.
cargo build --locked --package wahook --package whatsapp-sim --bins || exit 1
cargo test --workspace --features wahook/cql-tls --locked --no-run || exit 1
for _ in $(seq "$busy"); do
  yes > /dev/null &
  loops+=($!)
done

table="$logs/table.txt"
printf '%-6s %-6s %-8s %8s %8s %8s  %s\n' round what result seconds passed failed 'failed tests' | tee "$table"

# sum EXPRESSION FILE: the sum of the numbers that sed finds; nothing where it finds none.
sum() {
  sed -n "$1" "$2" | awk '{ all += $1 } END { if (NR) print all }'
}

# row ROUND WHAT COMMAND…
row() {
  local round=$1 what=$2 log="$logs/$2-$1.log" began=$SECONDS result=ok
  shift 2
  "$@" > "$log" 2>&1 || result=FAILED
  local passed failed names
  passed=$(sum 's/^test result: .*\. \([0-9]*\) passed.*/\1/p' "$log")
  failed=$(sum 's/^test result: .*; \([0-9]*\) failed.*/\1/p' "$log")
  names=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u | paste -sd' ')
  printf '%-6s %-6s %-8s %8s %8s %8s  %s\n' "$round" "$what" "$result" $((SECONDS - began)) "${passed:--}" \
    "${failed:--}" "$names" | tee -a "$table"
  [ "$result" = ok ]
}

all=0
for round in $(seq "$rounds"); do
  # The demo has its own build: without the feature that the tests turn on.
  cargo build --quiet --locked --package wahook --package whatsapp-sim --bins
  row "$round" demo python3 examples/demo.py || all=1
  row "$round" suite cargo test --workspace --features wahook/cql-tls --locked --no-fail-fast || all=1
done
echo "logs and this table are in $logs"
exit "$all"
