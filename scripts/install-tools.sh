#!/bin/sh
# What checks the alert rules (promtool) and opens the documentation (Chromium), from Debian's packages, as root.
# Where they are missing and can't be installed, the tests that need them are skipped and say so.
set -eu
missing=
command -v promtool > /dev/null || missing="prometheus"
command -v chromium > /dev/null || missing="$missing chromium"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then echo "not installed: $missing"; exit 0; fi
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -q && apt-get install -qy --no-install-recommends $missing; } > /dev/null 2>&1 ||
  echo "could not be installed: $missing"
