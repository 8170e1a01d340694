#!/usr/bin/env bash
# Puts on this host what the file `layout` says of it: units, settings, certificates. It starts nothing: it prints what to
# enable. Run it as root, again after every change.
#
#   install.sh HOST SECRETS [ROOT]    HOST as in `layout`; SECRETS: what ../secrets.sh made; ROOT: another root directory,
#                                     to look at what would be written
#   install.sh standalone             one process, everything embedded: no layout, no secrets
#
# Programs are not its business: /usr/bin/saker (./dev build), /usr/bin/etcd (Debian's etcd-server, or 3.6),
# /opt/kafka, /usr/bin/versitygw.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
host=${1:?which host? see the head of this script}
secrets=${2:-} root=${3:-}
etc=$root/etc/saker units=$root/etc/systemd/system
enable=()

rows() { grep -vE '^[[:space:]]*(#|$)' "$here/$1"; }
owner() { [ -n "$root" ] || chown -R "$1:" "$2"; }
unit() { install -D -m 644 "$here/$1" "$units/$1"; }
hosts_of() { rows layout | awk -v what="$1" '{for (i = 2; i <= NF; ++i) if ($i == what) print $1}'; }

secret_dir() {  # secret_dir FROM TO USER
  install -d -m 750 "$2"
  install -m 640 "$secrets/$1/ca.crt" "$secrets/$1/tls.crt" "$2"
  install -m 600 "$secrets/$1/tls.key" "$2"
  owner "$3" "$2"
}

install_etcd() {
  local members=() member
  for member in $(hosts_of etcd); do members+=("$member=https://$member:2380"); done
  unit saker-etcd.service
  install -m 644 "$here/../etcd.env" "$etc/etcd.env"
  secret_dir etcd "$etc/etcd-tls" saker-etcd
  printf '%s\n' "ETCD_NAME=$host" "ETCD_INITIAL_CLUSTER=$(IFS=,; echo "${members[*]}")" \
    "ETCD_ADVERTISE_CLIENT_URLS=https://$host:2379" "ETCD_INITIAL_ADVERTISE_PEER_URLS=https://$host:2380" >"$etc/etcd-member.env"
  enable+=(saker-etcd.service)
}

install_kafka() {
  local voters=() broker id=0 mine=0
  for broker in $(hosts_of kafka); do
    id=$((id + 1))
    voters+=("$id@$broker:9093")
    [ "$broker" != "$host" ] || mine=$id
  done
  unit saker-kafka.service
  install -D -m 755 "$here/../kafka.sh" "$root/usr/lib/saker/kafka.sh"
  install -m 644 "$here/../kafka.properties" "$etc/kafka.properties"
  printf '%s\n' "KAFKA_NODE_ID=$mine" "KAFKA_HOST=$host" "KAFKA_VOTERS=$(IFS=,; echo "${voters[*]}")" \
    "KAFKA_CLUSTER_ID=${KAFKA_CLUSTER_ID:-c2FrZXItZGVwbG95bWVudA}" >"$etc/kafka-broker.env"
  enable+=(saker-kafka.service)
}

install_s3() {
  unit saker-s3.service
  install -m 644 "$here/../s3.env" "$etc/s3.env"
  enable+=(saker-s3.service)
}

install_role() {  # install_role ROLE
  local port memory
  read -r port memory < <(rows roles | awk -v role="$1" '$1 == role {print $2, $3}')
  unit saker@.service
  printf '%s\n' "SAKER_HTTP=0.0.0.0:$port" "SAKER_ADVERTISE=$host" >"$etc/role-$1.env"
  install -d "$units/saker@$1.service.d"
  printf '[Service]\nMemoryMax=%s\n' "$memory" >"$units/saker@$1.service.d/memory.conf"
  enable+=("saker@$1.service")
}

install -d "$etc" "$units"
install -D -m 644 "$here/saker.sysusers" "$root/usr/lib/sysusers.d/saker.conf"
[ -n "$root" ] || systemd-sysusers "$root/usr/lib/sysusers.d/saker.conf"
install -m 644 "$here/../saker.yaml" "$etc/saker.yaml"
if [ "$host" = standalone ]; then
  unit saker-standalone.service
  enable=(saker-standalone.service)
else
  [ -d "$secrets" ] || { echo "where are the secrets? ../secrets.sh DIR makes them" >&2; exit 2; }
  read -ra parts < <(rows layout | awk -v host="$host" '$1 == host {$1 = ""; print}') || true
  [ ${#parts[@]} -gt 0 ] || { echo "there is no $host in $here/layout" >&2; exit 2; }
  install -m 644 "$here/cluster.env" "$etc/cluster.env"
  install -m 600 "$secrets/s3.secret" "$etc/s3.secret"
  secret_dir saker "$etc/tls" saker
  for part in "${parts[@]}"; do
    case $part in
      etcd | kafka | s3) "install_$part" ;;
      *)
        rows roles | awk '{print $1}' | grep -qx "$part" || { echo "layout: $part is no role; see $here/roles" >&2; exit 2; }
        install_role "$part"
        ;;
    esac
  done
fi
[ -n "$root" ] || systemctl daemon-reload
echo "systemctl enable --now ${enable[*]}"
