//! Tells the engine which way branches go.
//!
//! V8 puts code that is unlikely to run behind the rest of a function, and what it has to save in registers' stead, too. Without
//! [hints](https://webassembly.github.io/branch-hinting/metadata/code/binary.html) it takes both ways of a branch to be equally likely, and
//! what a request runs lies scattered between what it does not. An engine that does not know them ignores them.

use std::collections::{BTreeMap, BTreeSet};

use wasm_encoder::{CustomSection, Encode, Module, RawSection, SectionId};
use wasmparser::{Parser, Payload};

use crate::functions::Functions;
use crate::profile::Hot;

/// The custom section that says it.
pub const SECTION: &str = "metadata.code.branch_hint";

/// A module with hints.
#[derive(Debug)]
pub struct Hinted {
    /// The module's bytes.
    pub wasm: Vec<u8>,
    /// For how many functions of the profile there is one with that code.
    pub found: usize,
    /// How many hints there are.
    pub hints: usize,
}

/// Says of the module's functions what the profile knows of their branches. Of a function whose code has changed since, it knows
/// nothing.
///
/// # Errors
/// `module` is not a valid module.
pub fn branches(module: &[u8], hot: &[Hot]) -> Result<Hinted, String> {
    let functions = Functions::read(module)?;
    let known: BTreeMap<_, _> = hot.iter().map(|h| ((&*h.name, h.shape), h)).collect();
    let (mut found, mut all) = (BTreeSet::new(), Vec::new());
    for (index, function) in (functions.imported..).zip(&functions.own) {
        let key = (&*function.name, function.shape);
        let Some(hot) = known.get(&key) else {
            continue;
        };
        found.insert(key);
        let hints: Vec<(u32, bool)> = function
            .branches
            .iter()
            .zip(&hot.taken)
            .filter_map(|(at, taken)| Some((*at, (*taken)?)))
            .collect();
        if !hints.is_empty() {
            all.push((index, hints));
        }
    }
    let wasm = put(module, &encode(&all)).map_err(|error| error.to_string())?;
    crate::valid(&wasm)?;
    Ok(Hinted {
        wasm,
        found: found.len(),
        hints: all.iter().map(|(_, hints)| hints.len()).sum(),
    })
}

/// For each function its index and its hints; for each hint where the branch is, that a byte follows, and whether it is taken.
fn encode(functions: &[(u32, Vec<(u32, bool)>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    functions.len().encode(&mut bytes);
    for (index, hints) in functions {
        index.encode(&mut bytes);
        hints.len().encode(&mut bytes);
        for (at, taken) in hints {
            at.encode(&mut bytes);
            bytes.extend([1, u8::from(*taken)]);
        }
    }
    bytes
}

/// The module with the section at its place, before the code; in place of one that it has.
fn put(module: &[u8], data: &[u8]) -> wasmparser::Result<Vec<u8>> {
    let mut with = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if matches!(&payload, Payload::CustomSection(section) if section.name() == SECTION) {
            continue;
        }
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        if id == u8::from(SectionId::Code) {
            with.section(&CustomSection {
                name: SECTION.into(),
                data: data.into(),
            });
        }
        with.section(&RawSection {
            id,
            data: &module[range],
        });
    }
    Ok(with.finish())
}
