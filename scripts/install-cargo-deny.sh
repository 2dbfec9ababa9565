#!/usr/bin/env bash
# Builds cargo-deny into .tools, without optimisation, which would take minutes and save seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2

if [ -x .tools/bin/cargo-deny ] && .tools/bin/cargo-deny --version | grep -q " $version\$"; then
  exit 0
fi
echo "building cargo-deny $version into .tools"
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 CARGO_PROFILE_RELEASE_DEBUG=0
CARGO_TARGET_DIR=.tools/build \
  cargo install --locked --quiet --root .tools --version "$version" cargo-deny
rm -rf .tools/build
