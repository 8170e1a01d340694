#!/usr/bin/env bash
# Installs the real servers that the store tests and the cluster run against, under build/servers:
#   install.sh etcd   etcd 3.4 (Debian's package) and 3.6 (built from its Go module)
#   install.sh kafka  Apache Kafka, from Maven Central
#   install.sh s3     versitygw and MinIO, built from their Go modules (MinIO is AGPL: a test peer, never shipped)
# What is there already is left alone. Each is a file beside this one: install_etcd.sh, install_kafka.sh, install_s3.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export SAKER_ROOT=${here%/tests/servers}
export SAKER_SERVERS=${SAKER_SERVERS:-$SAKER_ROOT/build/servers}
mkdir -p "$SAKER_SERVERS"
for server in "${@:-etcd kafka s3}"; do
  for one in $server; do
    [ -f "$here/install_$one.sh" ] || { echo "unknown server: $one (etcd, kafka, s3)" >&2; exit 2; }
    "$here/install_$one.sh"
  done
done
