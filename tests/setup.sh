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

# Debian's packages for what a machine may lack; why, and how to do without root, is the first word.
install() {
    lacking=$1
    shift
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "$lacking; as root: apt-get install $*"
        exit 1
    fi
    say "installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
    install "chromium is missing (or set CHROMIUM to one)" chromium fonts-liberation
fi

# ensurepip is what Debian's python3 lacks without python3-venv.
if ! python3 -c "import ensurepip, venv" 2>/dev/null; then
    install "python3 with venv is missing" python3-venv
fi
python=clients/matrix/python
if ! cmp -s "$python/requirements.txt" "$python/.venv/installed.txt"; then
    say "installing tests/$python"
    python3 -m venv --clear "$python/.venv"
    "$python/.venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --require-hashes --requirement "$python/requirements.txt"
    "$python/.venv/bin/pip" check
    cp "$python/requirements.txt" "$python/.venv/installed.txt"
fi

if ! command -v openssl >/dev/null; then
    install "the program openssl is missing" openssl
fi

# rust_socketio links the OpenSSL of the machine.
if ! pkg-config --exists openssl; then
    install "the headers of OpenSSL, or pkg-config, are missing" libssl-dev pkg-config
fi
cargo fetch --quiet --locked --manifest-path clients/matrix/rust/Cargo.toml
