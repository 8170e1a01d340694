#!/usr/bin/env bash
# Runs Milvus's own test suite (tests/python_client of tag v2.3.5, pymilvus 2.3.7) against a server that is up.
#
#   tests/milvus/run.sh HOST:PORT [-t "L0 L1"] [-j WORKERS] [-o DIR] [FILE…|pytest options]
#
# FILE is a name below testcases/ (test_alias.py …); without one, all that a single machine can run. The suite is not
# part of this repository: it is taken from $MILVUS_SUITE (its tests/python_client), or fetched into build/milvus-suite.
# DIR (build/milvus-report) gets results.txt, one line per test; a table per file is printed at the end. Tests that
# need Kubernetes, several query nodes or bulk import are left out; skip.txt names single tests and why.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${1:?"usage: run.sh HOST:PORT [options]"}
shift
host=${target%:*} port=${target##*:}
tags="L0 L1" workers=1 out=$root/build/milvus-report
files=() extra=()
while [ $# -gt 0 ]; do
  case $1 in
    -t) tags=$2; shift 2 ;;
    -j) workers=$2; shift 2 ;;
    -o) out=$(realpath -m "$2"); shift 2 ;;
    test_*) files+=("testcases/$1"); shift ;;
    *) extra+=("$1"); shift ;;
  esac
done

venv=$root/build/venv-suite
python=$venv/bin/python
if ! "$python" -c 'import pymilvus, pytest_assume, benedict, kubernetes, sklearn' 2>/dev/null; then
  echo "setting up $venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q pymilvus==2.3.7 'setuptools<70' 'marshmallow<4' 'numpy<2' 'pandas<2.3' 'scikit-learn<1.6' \
    'pytest<8' pytest-assume pytest-timeout pytest-repeat pytest-level pytest-xdist pytest-rerunfailures \
    pytest-random-order pytest-html allure-pytest timeout_decorator ujson requests faker delayed-assert minio \
    npy-append-array h5py loguru psutil tenacity deepdiff prettytable pyyaml pyarrow kubernetes python-benedict
fi

suite=${MILVUS_SUITE:-$root/build/milvus-suite/tests/python_client}
if [ ! -d "$suite/testcases" ]; then
  echo "fetching Milvus's suite, tag v2.3.5"
  rm -rf "$root/build/milvus-suite"
  git clone -q --depth 1 --branch v2.3.5 --filter=blob:none --sparse https://github.com/milvus-io/milvus \
    "$root/build/milvus-suite"
  git -C "$root/build/milvus-suite" sparse-checkout set tests/python_client
fi

if [ ${#files[@]} -eq 0 ]; then
  for name in alias collection compaction connection database delete e2e high_level_api index insert partition \
    partition_key query search utility; do
    files+=("testcases/test_$name.py")
  done
fi
mkdir -p "$out"
export CI_LOG_PATH=$out PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 SAKER_SUITE_SKIP=$here/skip.txt
parallel=()
[ "$workers" -gt 1 ] && parallel=(-n "$workers" --dist loadfile)
cd "$suite"
status=0
# shellcheck disable=SC2086
"$python" -W ignore -m pytest -p suite_plugin -p no:cacheprovider -o addopts="" --host "$host" --port "$port" \
  --timeout 360 --tb short -q --tags $tags "${parallel[@]}" --results "$out/results.txt" "${extra[@]}" "${files[@]}" \
  >"$out/pytest.log" 2>&1 || status=$?
tail -n 1 "$out/pytest.log"
"$python" "$here/table.py" "$out/results.txt"
exit $status
