#!/usr/bin/env bash
# Builds the page and puts it where the compiler takes it from. `--check` instead says whether what is there is what
# the sources make: it is committed, so that nobody needs Node.js to build wahook.
set -euo pipefail
cd "$(dirname "$0")"
target=../src/api/page/assets
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-fund --no-audit
npm run --silent check
npm run --silent build -- --logLevel warn
mv dist/page/* dist/ && rmdir dist/page
cp icon.svg dist/icon.svg
if [ "${1:-}" = --check ]; then
  diff --recursive --brief dist "$target" || {
    echo "the page in $target is not what web/ makes: run make page, and commit it" >&2
    exit 1
  }
  echo "the page is what web/ makes"
else
  rm -rf "$target" && cp -r dist "$target"
  for file in "$target"/*; do printf '%7s bytes compressed  %s\n' "$(gzip -9c "$file" | wc -c)" "$(basename "$file")"; done
fi
