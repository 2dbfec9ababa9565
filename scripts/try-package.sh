#!/usr/bin/env bash
# Installs the Debian package of dist/ into a fresh root of Debian, starts it there, and delivers a message. Then runs there what
# the Helm chart makes, on a read-only root. `make dist` makes the package. Needs root and apt-get, from which it takes debootstrap if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1

package=$(ls dist/wahook_*.deb)
if command -v debootstrap > /dev/null; then
  debootstrap=debootstrap
else
  rm -rf .tools/debootstrap
  mkdir -p .tools/debootstrap
  (cd .tools/debootstrap && apt-get download -qq debootstrap && dpkg -x debootstrap_*.deb .)
  export DEBOOTSTRAP_DIR=$PWD/.tools/debootstrap/usr/share/debootstrap
  debootstrap=.tools/debootstrap/usr/sbin/debootstrap
fi
scripts/install-nats.sh
root=$(mktemp -d)
trap 'rm -rf "$root" "$root.toml" "$root.files"' EXIT
chmod 755 "$root"
. /etc/os-release
echo "making a root of $VERSION_CODENAME with debootstrap"
"$debootstrap" --variant=minbase --include=ca-certificates,adduser "$VERSION_CODENAME" "$root" > "$root.log" \
  || { tail -20 "$root.log" >&2; exit 1; }
rm "$root.log"
python3 scripts/deploy/package.py "$package" "$root"

echo "what the chart's small values make, on a read-only root"
scripts/install-deploy-tools.sh helm
.tools/bin/helm template wahook deploy/helm/wahook --values deploy/helm/wahook/examples/small.yaml \
  --show-only templates/config.yaml 2> /dev/null \
  | awk '/wahook.toml: \|/ { file++; next } /^---/ { if (file) file++ } file == 1 { sub(/^    /, ""); print }' > "$root.toml"
dpkg -x "$package" "$root.files"
WAHOOK_BIN=$root.files/usr/bin/wahook unshare --mount scripts/deploy/read-only-root.sh "$root" "$root.toml"
