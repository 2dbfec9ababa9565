#!/usr/bin/env bash
# The page in a real Chromium, against target/debug/wahook and the stand-in WhatsApp server. PAGE_IMAGES=1 makes the
# pictures of docs/images, too.
set -euo pipefail
cd "$(dirname "$0")/.."

find_chromium() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" && return
  done
  return 1
}

if [ -z "${CHROMIUM:-}" ]; then
  if ! find_chromium > /dev/null && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "installing chromium with apt-get" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null
  fi
  CHROMIUM=$(find_chromium) || {
    echo "no Chromium: install it (Debian: apt-get install chromium), or name it in CHROMIUM" >&2
    exit 1
  }
fi
export CHROMIUM
cd web
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-fund --no-audit
exec npx vitest run --config vitest.browser.config.ts
