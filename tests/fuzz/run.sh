#!/usr/bin/env bash
# Runs one fuzz target for so many seconds, with the requests, answers and configurations
# of `tests/fixtures` to begin with: `tests/fuzz/run.sh request 600`. Ends with an error at the first finding.
#
# It builds as cargo-fuzz does (coverage, no sanitizer of memory: there is no `unsafe` here), so that
# nothing but a nightly compiler has to be installed.
set -euo pipefail
cd "$(dirname "$0")"

target=$1
seconds=$2
corpus=corpus/$target
mkdir -p "$corpus" artifacts
if ! rustc +nightly --version >/dev/null 2>&1; then
  echo "no nightly compiler: rustup toolchain install nightly" >&2
  exit 1
fi

# Bytes of the fixtures: their lines without marks are near enough for a fuzzer to go on from.
python3 seeds.py "$target" "$corpus"

# The codec builds in a fraction of the time without the rest.
features=(--no-default-features)
dict=http.dict
if [ "$target" = config ]; then
  features=()
  dict=toml.dict
fi

flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
flags+=' -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'
flags+=' --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1'
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
# With a target, flags do not reach build scripts and macros.
RUSTFLAGS=$flags cargo +nightly build --release "${features[@]}" --target "$host" --bin "$target"
exec "target/$host/release/$target" "$corpus" -max_total_time="$seconds" -max_len=8192 \
  -dict="$dict" -print_final_stats=1 -artifact_prefix=artifacts/
