//! The pure crates stay pure: nothing that talks to a proxy, an operating system or a source of
//! randomness may be linked into `core`, `state`, a policy or the gateway's chain. Time, randomness and
//! environment come to them as values.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const PURE: &[&str] = &[
    "tollgate-core",
    "tollgate-state",
    "tollgate-key-auth",
    "tollgate-webhook-signature",
    "tollgate-rate-limit",
    "tollgate-canary",
    "tollgate-cost",
    "tollgate-gateway",
];

/// Crates whose presence means I/O, a clock, randomness, threads, or the proxy itself.
const IMPURE: &[&str] = &[
    "async-std",
    "chrono",
    "console_error_panic_hook",
    "fastrand",
    "futures-executor",
    "getrandom",
    "hyper",
    "instant",
    "js-sys",
    "libc",
    "mio",
    "nix",
    "proxy-wasm",
    "rand",
    "rayon",
    "reqwest",
    "rustix",
    "signal-hook",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "tollgate-adapter",
    "tollgate-plugin",
    "tollgate-scenario",
    "tollgate-upstream",
    "ureq",
    "wasi",
    "wasm-bindgen",
    "wasip2",
    "web-sys",
    "web-time",
    "winapi",
    "windows-sys",
];

/// The names of every crate that `package` links for `target`, itself included.
fn linked(package: &str, target: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args([
            "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}",
        ])
        .args(["--package", package, "--all-features", "--target", target])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|name| name.replace('_', "-"))
        .collect()
}

fn impure(names: &BTreeSet<String>) -> Vec<&str> {
    let found = |name: &&&str| names.contains(&name.replace('_', "-"));
    IMPURE.iter().filter(found).copied().collect()
}

#[test]
fn pure_crates_reach_neither_the_proxy_nor_the_system() {
    for package in PURE {
        for target in ["wasm32-wasip1", "wasm32-unknown-unknown"] {
            let names = linked(package, target);
            assert!(
                names.contains(*package),
                "{package} is not in its own tree: {names:?}"
            );
            let impure = impure(&names);
            assert!(impure.is_empty(), "{package} on {target} links {impure:?}");
        }
    }
}

/// The test above can fail: the adapter is where proxy-wasm is allowed, and it is seen there.
#[test]
fn the_adapter_is_seen_to_reach_the_proxy() {
    let names = linked("tollgate-adapter", "wasm32-wasip1");
    assert!(impure(&names).contains(&"proxy-wasm"), "{names:?}");
}
