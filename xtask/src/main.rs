//! `cargo xtask COMMAND`: see the library for the commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use xtask::functions::Functions;
use xtask::profile::{self, Hot};
use xtask::{hints, instrument, keep, order, strip};

const USAGE: &str = "usage: xtask strip-exports IN OUT (--module NAME | --keep EXPORT,EXPORT,...)
       xtask order-functions IN OUT --module NAME
       xtask hint-branches IN OUT --module NAME
       xtask instrument IN OUT
       xtask write-profile FILE --module NAME --of MODULE --counts COUNTS";

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
        ["order-functions", from, to, "--module", name] => {
            hot(name).and_then(|hot| order_functions(from, to, &hot))
        }
        ["hint-branches", from, to, "--module", name] => {
            hot(name).and_then(|hot| hint_branches(from, to, &hot))
        }
        ["instrument", from, to] => instrument_module(from, to),
        [
            "write-profile",
            file,
            "--module",
            name,
            "--of",
            module,
            "--counts",
            counts,
        ] => write_profile(file, name, module, counts),
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
    let before = read(from)?;
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

fn hot(module: &str) -> Result<Vec<Hot>, String> {
    profile::parse(profile::PROFILE)
        .map_err(|error| format!("profile.txt: {error}"))?
        .remove(module)
        .ok_or_else(|| format!("profile.txt has no module {module}"))
}

fn order_functions(from: &str, to: &str, hot: &[Hot]) -> Result<(), String> {
    let before = read(from)?;
    let ordered = order::functions(&before, hot).map_err(|error| format!("{from}: {error}"))?;
    write_whole(to, &ordered.wasm)?;
    println!(
        "{to}: {} of {} hot functions first",
        ordered.found,
        hot.len()
    );
    Ok(())
}

fn hint_branches(from: &str, to: &str, hot: &[Hot]) -> Result<(), String> {
    let before = read(from)?;
    let hinted = hints::branches(&before, hot).map_err(|error| format!("{from}: {error}"))?;
    write_whole(to, &hinted.wasm)?;
    println!(
        "{to}: {} hints on branches, in {} of {} hot functions",
        hinted.hints,
        hinted.found,
        hot.len()
    );
    if hinted.found * 4 < hot.len() * 3 {
        println!("{to}: xtask/profile.txt is of other code: `make profile` writes it anew");
    }
    Ok(())
}

fn instrument_module(from: &str, to: &str) -> Result<(), String> {
    let counted = instrument::module(&read(from)?).map_err(|error| format!("{from}: {error}"))?;
    write_whole(to, &counted)
}

fn write_profile(file: &str, name: &str, module: &str, counts: &str) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let mut all = profile::parse(&text).map_err(|error| format!("{file}: {error}"))?;
    let functions =
        Functions::read(&read(module)?).map_err(|error| format!("{module}: {error}"))?;
    let counts: Vec<u64> = read(counts)?
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .collect();
    let (requests, counts) = counts
        .split_first()
        .ok_or_else(|| "there are no counts".to_owned())?;
    let hot = profile::of(&functions, counts, *requests)?;
    if hot.len() < 20 {
        return Err(format!(
            "{module}: only {} functions ran often: nothing was served",
            hot.len()
        ));
    }
    println!("{file}: {} functions of {name}", hot.len());
    all.insert(name.to_owned(), hot);
    write_whole(file, profile::print(&all).as_bytes())
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{path}: {error}"))
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
