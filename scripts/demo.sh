#!/bin/sh
# The demo, on a machine that has only Node with npm: installs what it needs, and starts a server of its own.
set -eu
cd "$(dirname "$0")/.."
[ -e node_modules/.modules.yaml ] || npx --yes pnpm@12.21.0 install --frozen-lockfile --silent
exec node --conditions=source --import tsx demo/src/main.ts "$@"
