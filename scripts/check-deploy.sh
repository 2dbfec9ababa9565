#!/usr/bin/env bash
# Checks what is shipped for operators: alerts and dashboards, also on a real Prometheus and a real node; the Helm chart; the
# files for Docker Compose; the systemd unit. Installs what is missing into .tools. Names of parts as arguments: those alone.
# Needs the executables of `cargo build --workspace --features wahook/cql-tls`, or WAHOOK_BIN and WHATSAPP_SIM_BIN.
set -euo pipefail
cd "$(dirname "$0")/.."
export WAHOOK_BIN=${WAHOOK_BIN:-$PWD/target/debug/wahook}
export WHATSAPP_SIM_BIN=${WHATSAPP_SIM_BIN:-$PWD/target/debug/whatsapp-sim}
export PYTHONDONTWRITEBYTECODE=1
python=.tools/deploy-python/bin/python3

step() { printf -- '-- %s (%s s)\n' "$1" "$SECONDS"; }

alerts() {
  scripts/install-deploy-tools.sh python prometheus
  step "alerts: rules and their tests"
  .tools/bin/promtool check rules deploy/prometheus/alerts.yaml
  .tools/bin/promtool test rules deploy/prometheus/tests/*.yaml
  step "alerts and dashboards: names, runbooks, queries"
  "$python" deploy/grafana/make.py --check
  "$python" scripts/deploy/monitoring.py
}

live() {
  scripts/install-deploy-tools.sh python prometheus
  scripts/install-nats.sh
  step "dashboards and alerts on a real Prometheus and a real node"
  "$python" scripts/deploy/live.py
}

chart() {
  scripts/install-deploy-tools.sh python helm kubeconform schemas
  step "the chart: lint, manifests, settings"
  "$python" scripts/deploy/chart.py
}

compose() {
  scripts/install-deploy-tools.sh python compose
  step "files for Docker Compose, and their settings"
  "$python" scripts/deploy/compose.py
}

# Where there is no systemd, its directives cannot be checked.
systemd() {
  scripts/install-deploy-tools.sh python
  step "the systemd unit"
  "$python" scripts/deploy/unit.py
  if ! command -v systemd-analyze > /dev/null; then
    echo "NOT RUN: no systemd-analyze here"
    return
  fi
  local folder
  folder=$(mktemp -d)
  # It looks whether the executable is there.
  sed "s|/usr/bin/wahook|$WAHOOK_BIN|" deploy/systemd/wahook.service > "$folder/wahook.service"
  # It only warns of what it does not know.
  if systemd-analyze verify "$folder/wahook.service" 2>&1 | grep wahook.service; then return 1; fi
  # 0 is nothing exposed, 100 is everything.
  systemd-analyze security --offline=true --no-pager --threshold="$exposure_max" \
    "$folder/wahook.service" | tail -1
  rm -r "$folder"
}
exposure_max=14

[ $# -gt 0 ] || set -- alerts live chart compose systemd
for part in "$@"; do
  case $part in
    alerts | live | chart | compose | systemd) "$part" ;;
    *) echo "no such part: $part (alerts, live, chart, compose, systemd)" >&2; exit 2 ;;
  esac
done
step "done: $*"
