#!/bin/sh
# Installs what tests/clients and tests/browser need. Safe to repeat; quick when all is there.
set -eu
cd "$(dirname "$0")"

say() { echo "setup: $*" >&2; }

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    say "node (20 or newer) and npm are needed and were not found"
    exit 1
fi

# npm notes what it installed in node_modules; the lock being no newer means nothing changed since.
for directory in clients browser; do
    installed="$directory/node_modules/.package-lock.json"
    if [ -f "$installed" ] && ! [ "$directory/package-lock.json" -nt "$installed" ]; then
        continue
    fi
    say "installing tests/$directory"
    (cd "$directory" && npm ci --no-fund --no-audit)
done

if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "installing chromium"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            chromium fonts-liberation
    else
        say "chromium is missing: install the package chromium as root, or set CHROMIUM to one"
        exit 1
    fi
fi
