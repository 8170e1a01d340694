#!/usr/bin/env bash
# etcd 3.4 and 3.6 under $SAKER_SERVERS: etcd-3.4 (the program of Debian's etcd-server package, taken out of it: no service
# is installed), etcd-3.6, etcdctl-3.6 and etcdutl-3.6 (built from their Go modules). Called by install.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${SAKER_SERVERS:?is set by install.sh}"
version=3.6.5

if [ ! -x "$SAKER_SERVERS/etcd-3.4" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  if ! (cd "$work" && apt-get download -qq etcd-server >/dev/null 2>&1); then
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    (cd "$work" && apt-get download -qq etcd-server)
  fi
  dpkg-deb -x "$work"/etcd-server_3.4.*.deb "$work/etcd-server"
  install -m 755 "$work/etcd-server/usr/bin/etcd" "$SAKER_SERVERS/etcd-3.4"
  echo "installed $SAKER_SERVERS/etcd-3.4"
fi

missing=()
for program in etcd etcdctl etcdutl; do
  [ -x "$SAKER_SERVERS/$program-3.6" ] || missing+=("$program")
done
[ ${#missing[@]} -gt 0 ] || exit 0
# shellcheck source=go.sh
. "$here/go.sh"
# The server's module has replace directives, which `go install` refuses: a module of our own asks for it instead.
module=$SAKER_SERVERS/etcd-module
mkdir -p "$module"
cat >"$module/go.mod" <<MOD
module saker/etcd

go 1.24

require (
	go.etcd.io/etcd/etcdctl/v3 v$version
	go.etcd.io/etcd/etcdutl/v3 v$version
	go.etcd.io/etcd/server/v3 v$version
)
MOD
cat >"$module/programs.go" <<'GO'
//go:build programs

package programs

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
GO
cd "$module"
export GOFLAGS="$GOFLAGS -mod=mod"
package_of() { [ "$1" = etcd ] && echo go.etcd.io/etcd/server/v3 || echo "go.etcd.io/etcd/$1/v3"; }
for program in "${missing[@]}"; do
  nice -n 10 "$go" build -trimpath -ldflags='-s -w' -o "$SAKER_SERVERS/$program-3.6.new" "$(package_of "$program")" 2>build.log ||
    { cat build.log >&2; exit 1; }
  mv "$SAKER_SERVERS/$program-3.6.new" "$SAKER_SERVERS/$program-3.6"
  echo "installed $SAKER_SERVERS/$program-3.6"
done
