//! `cargo xtask COMMAND`: see the library for the commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use xtask::{keep, order, strip};

const USAGE: &str = "usage: xtask strip-exports IN OUT (--module NAME | --keep EXPORT,EXPORT,...)
       xtask order-functions IN OUT [--first FILE]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["strip-exports", from, to, "--module", name] => {
            listed(name).and_then(|kept| strip_exports(from, to, &kept))
        }
        ["strip-exports", from, to, "--keep", names] => {
            strip_exports(from, to, &names.split(',').map(str::to_owned).collect())
        }
        ["order-functions", from, to] => order_functions(from, to, order::HOT),
        ["order-functions", from, to, "--first", list] => {
            read_text(list).and_then(|list| order_functions(from, to, &list))
        }
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn listed(name: &str) -> Result<BTreeSet<String>, String> {
    keep::parse(keep::EXPORTS)
        .map_err(|error| format!("exports.txt: {error}"))?
        .remove(name)
        .ok_or_else(|| format!("exports.txt has no module {name}"))
}

fn strip_exports(from: &str, to: &str, kept: &BTreeSet<String>) -> Result<(), String> {
    let before = fs::read(from).map_err(|error| format!("{from}: {error}"))?;
    let stripped = strip::exports(&before, kept).map_err(|error| format!("{from}: {error}"))?;
    write_whole(to, &stripped.wasm)?;
    println!(
        "{to}: {} KiB of {}, {} exports of {}",
        stripped.wasm.len() / 1024,
        before.len() / 1024,
        kept.len(),
        stripped.exports_before
    );
    Ok(())
}

fn order_functions(from: &str, to: &str, list: &str) -> Result<(), String> {
    let before = fs::read(from).map_err(|error| format!("{from}: {error}"))?;
    let hot = order::parse(list);
    let ordered = order::functions(&before, &hot).map_err(|error| format!("{from}: {error}"))?;
    write_whole(to, &ordered.wasm)?;
    println!(
        "{to}: {} of {} hot functions first",
        ordered.found,
        hot.len()
    );
    Ok(())
}

fn read_text(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// Renamed into place: whoever reads the file meanwhile sees the old module or the new one, whole.
fn write_whole(to: &str, wasm: &[u8]) -> Result<(), String> {
    let new = format!("{to}.new");
    if let Some(parent) = Path::new(to).parent() {
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    }
    fs::write(&new, wasm).map_err(|error| format!("{new}: {error}"))?;
    fs::rename(&new, to).map_err(|error| format!("{to}: {error}"))
}
