#!/usr/bin/env bash
# versitygw and MinIO, built from their Go modules to $SAKER_SERVERS/versitygw and $SAKER_SERVERS/minio.
# Called by install.sh.
# MinIO is AGPL: it runs beside the tests, nothing of it is linked or shipped. The first time takes some minutes.
set -euo pipefail
SAKER_SERVERS=${SAKER_SERVERS:?run tests/servers/install.sh s3}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
modules=(
  "versitygw github.com/versity/versitygw/cmd/versitygw v1.8.0"
  "minio github.com/minio/minio v0.0.0-20260212201848-7aac2a2c5b7c"
)

# Which version a program is, kept beside it: neither tells its module's version when asked.
current() { [ -x "$SAKER_SERVERS/$1" ] && [ "$(cat "$SAKER_SERVERS/$1.version" 2>/dev/null)" = "$2" ]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "this needs root: run as root, or install sudo ($*)" >&2; exit 1
  fi
}

# Only where go.sh has to take Go from PyPI, and there a root certificate store for it.
python_for_go() {
  command -v go >/dev/null && return
  python3 -c 'import ensurepip, venv' 2>/dev/null && [ -e /etc/ssl/certs/ca-certificates.crt ] && return
  as_root apt-get update -q >/dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    python3 python3-venv ca-certificates >/dev/null
}

go=
for module in "${modules[@]}"; do
  read -r name path version <<<"$module"
  current "$name" "$version" && continue
  if [ -z "$go" ]; then
    python_for_go
    . "$here/go.sh"
  fi
  echo "building $name $version"
  bin=$(mktemp -d "$SAKER_SERVERS/.build.XXXXXX")
  log=$SAKER_SERVERS/$name.log
  # The binaries are for tests: without symbols they are a third smaller.
  if ! GOBIN=$bin "$go" install -ldflags='-s -w' "$path@$version" >"$log" 2>&1; then
    tail -5 "$log" >&2
    rm -rf "$bin"
    echo "building $name failed: see $log" >&2
    exit 1
  fi
  mv "$bin/$name" "$SAKER_SERVERS/$name"
  echo "$version" >"$SAKER_SERVERS/$name.version"
  rm -rf "$bin" "$log"
done
