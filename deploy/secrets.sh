#!/usr/bin/env bash
# Makes what a deployment keeps secret, under DIR: an authority, etcd's certificate, Saker's, and the S3 credentials.
#
#   secrets.sh DIR [ETCD-HOST ...]    hosts and addresses that etcd's members are reached by; etcd1 etcd2 etcd3 unless given
#
#   DIR/ca.key                  the authority's key: keep it elsewhere
#   DIR/etcd/{ca,tls}.crt, tls.key    of etcd's members, to clients and to each other
#   DIR/saker/{ca,tls}.crt, tls.key   of Saker's processes: to etcd, and to each other under the name "saker"
#   DIR/s3.secret               MINIO_ACCESSKEYID=…, MINIO_SECRETACCESSKEY=…, and the same for the S3 server
#
# What is there is kept; a certificate that ends within 30 days, or whose hosts differ, is made anew by the same authority.
set -euo pipefail
umask 077
[ $# -ge 1 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
shift
[ $# -gt 0 ] || set -- etcd1 etcd2 etcd3

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

names() {  # names NAME …: as a certificate lists them
  local name list=
  for name in "$@"; do
    if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then list+=",IP:$name"; else list+=",DNS:$name"; fi
  done
  echo "${list#,}"
}

certificate() {  # certificate DIR NAME …: the first is its common name
  local dir=$1 san
  shift
  san=$(names "$@")
  mkdir -p "$dir"
  cp ca.crt "$dir/ca.crt"
  if [ "$(cat "$dir/names" 2>/dev/null)" = "$san" ] && openssl verify -CAfile ca.crt "$dir/tls.crt" >/dev/null 2>&1 &&
    openssl x509 -checkend 2592000 -noout -in "$dir/tls.crt" >/dev/null; then
    return
  fi
  key "$dir/tls.key"
  openssl req -new -key "$dir/tls.key" -subj "/CN=$1" -out "$dir/csr"
  openssl x509 -req -in "$dir/csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -sha256 -out "$dir/tls.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n' "$san") 2>/dev/null
  rm "$dir/csr"
  echo "$san" >"$dir/names"
  echo "made $dir/tls.crt for $*"
}

if [ ! -e ca.crt ]; then
  key ca.key
  openssl req -x509 -new -key ca.key -days 3650 -sha256 -subj "/CN=saker" -out ca.crt -addext keyUsage=critical,keyCertSign,cRLSign
  echo "made ca.crt"
fi
certificate etcd "$@" localhost 127.0.0.1
certificate saker saker localhost 127.0.0.1

# The image's user reads its certificate; run as another than root, see to it yourself.
[ "$(id -u)" != 0 ] || chown -R "${SAKER_UID:-10001}" saker
chmod 711 .

if [ ! -e s3.secret ]; then
  access=saker secret=$(openssl rand -hex 24)
  printf 'MINIO_ACCESSKEYID=%s\nMINIO_SECRETACCESSKEY=%s\nROOT_ACCESS_KEY=%s\nROOT_SECRET_KEY=%s\n' \
    "$access" "$secret" "$access" "$secret" >s3.secret
  echo "made s3.secret"
fi
