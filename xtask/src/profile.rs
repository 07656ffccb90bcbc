//! `profile.txt`: which functions requests run in each module, and which way their branches go.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::functions::Functions;

/// The profile that `make wasm` uses; `make profile` writes it.
pub const PROFILE: &str = include_str!("../profile.txt");

const HEADER: &str = "\
# What requests run in each module: a line for every function, with the shape of its code, which way its conditional branches go
# (0: hardly ever taken, 1: nearly always, a dot: neither, or unknown; a dash: it has none) and its name. Written by `make profile`, out of
# requests that a real Envoy serves; `xtask order-functions` and `xtask hint-branches` read it. What is stale costs speed and nothing else.
";

/// A function that requests run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hot {
    /// As [`crate::names::readable`] says it.
    pub name: String,
    /// [`crate::functions::Own::shape`]: what is known of the branches holds for this code only.
    pub shape: u64,
    /// For each branch whether it is taken, as far as that can be told.
    pub taken: Vec<Option<bool>>,
}

/// By module.
pub type Profile = BTreeMap<String, Vec<Hot>>;

/// Reads the format that is described at the top of `profile.txt`.
///
/// # Errors
/// A line that is neither a module nor a function, with its number.
pub fn parse(text: &str) -> Result<Profile, String> {
    let mut profile = Profile::new();
    let mut functions = None;
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<_> = line.splitn(3, ' ').collect();
        match (words.as_slice(), &mut functions) {
            (["module", name], _) => {
                functions = Some(profile.entry((*name).to_owned()).or_default());
            }
            ([shape, taken, name], Some(functions)) => {
                let hot = hot(shape, taken, name);
                functions.push(hot.ok_or_else(|| format!("line {number}: no function"))?);
            }
            _ => return Err(format!("line {number}: expected `module NAME` first")),
        }
    }
    Ok(profile)
}

fn hot(shape: &str, taken: &str, name: &str) -> Option<Hot> {
    let branch = |c| match c {
        '0' => Some(Some(false)),
        '1' => Some(Some(true)),
        '.' => Some(None),
        _ => None,
    };
    Some(Hot {
        name: name.to_owned(),
        shape: u64::from_str_radix(shape, 16).ok()?,
        taken: if taken == "-" {
            Vec::new()
        } else {
            taken.chars().map(branch).collect::<Option<_>>()?
        },
    })
}

/// The reverse of [`parse`].
#[must_use]
pub fn print(profile: &Profile) -> String {
    let mut text = HEADER.to_owned();
    for (module, functions) in profile {
        let _ = writeln!(text, "\nmodule {module}");
        for Hot { name, shape, taken } in functions {
            let branches: String = taken
                .iter()
                .map(|t| t.map_or('.', |t| if t { '1' } else { '0' }))
                .collect();
            let branches = if branches.is_empty() { "-" } else { &branches };
            let _ = writeln!(text, "{shape:016x} {branches} {name}");
        }
    }
    text
}

/// Which of a module's functions at least every fourth request called, and which way their branches went, by name. `counts` is what
/// [`crate::instrument::module`] had counted after so many requests.
///
/// # Errors
/// The counts are not of that module.
pub fn of(functions: &Functions, counts: &[u64], requests: u64) -> Result<Vec<Hot>, String> {
    let mut counts = counts.iter().copied();
    let mut next = || {
        counts
            .next()
            .ok_or("there are fewer counts than the module has functions and branches")
    };
    let mut hot = Vec::new();
    for function in &functions.own {
        let calls = next()?;
        let mut taken = Vec::new();
        for _ in &function.branches {
            let (runs, takes) = (next()?, next()?);
            taken.push(way(runs, takes));
        }
        if calls.saturating_mul(4) >= requests && !function.name.is_empty() {
            hot.push(Hot {
                name: function.name.clone(),
                shape: function.shape,
                taken,
            });
        }
    }
    if counts.next().is_some() {
        return Err("there are more counts than the module has functions and branches".to_owned());
    }
    hot.sort_by(|a, b| (&a.name, a.shape).cmp(&(&b.name, b.shape)));
    hot.dedup_by(|b, a| {
        let same = (&a.name, a.shape) == (&b.name, b.shape);
        if same && a.taken != b.taken {
            // Two functions that look the same: what is true of only one of them is not said.
            let both = a.taken.iter().zip(&b.taken);
            a.taken = both.map(|(a, b)| a.filter(|_| a == b)).collect();
        }
        same
    });
    Ok(hot)
}

/// Which way a branch goes, if it goes that way 19 times out of 20.
fn way(runs: u64, takes: u64) -> Option<bool> {
    if runs == 0 {
        return None;
    }
    if takes.saturating_mul(20) <= runs {
        return Some(false);
    }
    (runs.saturating_sub(takes).saturating_mul(20) <= runs).then_some(true)
}
