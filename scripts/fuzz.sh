#!/usr/bin/env bash
# Runs every fuzz target for a while: scripts/fuzz.sh [SECONDS] [TARGET...]
# What a target finds stays in tests/fuzz/artifacts/; the corpus grows in tests/fuzz/corpus/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true

rustup toolchain list | grep -q '^nightly' || {
  echo 'missing: a nightly compiler. Install it with:  rustup toolchain install nightly --profile minimal' >&2
  exit 1
}
fuzz=.tools/bin/cargo-fuzz
[ -x "$fuzz" ] || {
  echo '== cargo-fuzz (once)'
  cargo install --root .tools --target-dir .tools/build --locked cargo-fuzz
}
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <("$fuzz" list --fuzz-dir tests/fuzz)

failed=()
for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  RUSTUP_TOOLCHAIN=nightly "$fuzz" run --fuzz-dir tests/fuzz --target-dir tests/fuzz/target "$target" -- \
    -max_total_time="$seconds" -verbosity=0 -print_funcs=0 -print_final_stats=1 || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "failed: ${failed[*]}; inputs in tests/fuzz/artifacts/" >&2
  exit 1
}
echo "${#targets[@]} fuzz targets, nothing found"
