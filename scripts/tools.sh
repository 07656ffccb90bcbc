#!/usr/bin/env bash
# Names every program that is missing, with the line that installs it, and adds the WebAssembly targets.
#   scripts/tools.sh run | test | coverage | bench
set -eu
cd "$(dirname "$0")/.."
what=${1:-run}

case "$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}")" in
*debian* | *ubuntu*) install='sudo apt-get install -y' venv=python3-venv cc=gcc ;;
*fedora* | *rhel*) install='sudo dnf install -y' venv=python3 cc=gcc ;;
*alpine*) install='sudo apk add' venv=python3 cc=build-base ;;
*arch*) install='sudo pacman -S' venv=python cc=gcc ;;
*) if [ "$(uname)" = Darwin ]; then install='brew install' venv=python3 cc=gcc; else install='install' venv=python3-venv cc=gcc; fi ;;
esac
[ "$(uname)" != Darwin ] || ccline='xcode-select --install'

missing=0
need() { # NAME, WHY, INSTALL LINE
  echo "missing: $1 ($2). Install it with:  $3" >&2
  missing=1
}
have() { command -v "$1" >/dev/null 2>&1; }

have rustup && have cargo || need rustup 'builds everything' "curl -sSf https://sh.rustup.rs | sh"
have cc || need 'a C linker (cc)' 'links native programs' "${ccline:-$install $cc}"
if ! have python3; then
  need python3 'starts the demo, runs the tests' "$install python3 $venv"
elif ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
  need 'python3 >= 3.9 with venv' 'installs Envoy into .venv' "$install $venv"
fi
if [ "$what" = run ] && ! have curl; then
  need curl 'the demo prints curl commands' "$install curl"
fi
if [ "$what" = test ]; then
  have curl || need curl 'the smoke test runs the printed commands' "$install curl"
  have node || need node 'runs the tests as WebAssembly' "$install nodejs"
fi
if [ "$what" = bench ]; then
  have wrk || need wrk 'puts load on Envoy' "$install wrk"
fi
[ "$missing" = 0 ] || exit 1

# rust-toolchain.toml names toolchain and targets; an older toolchain of that version may lack one.
installed=$(rustup target list --installed)
for target in wasm32-wasip1 wasm32-unknown-unknown; do
  grep -qx "$target" <<<"$installed" || rustup target add "$target"
done
if [ "$what" = coverage ]; then
  rustup component list --installed | grep -q '^llvm-tools' || rustup component add llvm-tools
fi
