#!/bin/sh
# Everything that decides whether a change lands, on a machine that has only Node with npm (root on Debian 12):
# installs, checks, builds, packs, and runs all tests. Ends with a line that counts them.
set -eu
cd "$(dirname "$0")/.."
pnpm() { npx --yes pnpm@12.21.0 "$@"; }
step() { printf '\n== %s\n' "$1"; }

step "install"
pnpm install --frozen-lockfile
sh test-fixtures/install.sh all > /dev/null & servers=$!
sh scripts/install-tools.sh & tools=$!

step "lint, format, types, unused code"
pnpm run lint

step "build and check the packages"
pnpm run build
pnpm run check:packages

step "servers for the tests"
wait $servers
wait $tools

step "tests on Node $(node --version)"
exec node scripts/tests.mjs
