//! Removes exports from a linked module, and the code that only they reached.

use std::collections::BTreeSet;

/// A stripped module.
#[derive(Debug)]
pub struct Stripped {
    /// The module's bytes.
    pub wasm: Vec<u8>,
    /// How many exports there were.
    pub exports_before: usize,
}

/// Keeps the exports named in `keep`, deletes the others, then everything that is no longer
/// reachable from an export or a table: functions, imports, types, globals.
///
/// # Errors
/// `module` is not WebAssembly, or `keep` names an export that it does not have.
pub fn exports(module: &[u8], keep: &BTreeSet<String>) -> Result<Stripped, String> {
    let mut module = walrus::ModuleConfig::new()
        .generate_producers_section(false)
        .parse(module)
        .map_err(|error| format!("not a WebAssembly module: {error:#}"))?;
    let all: Vec<_> = module
        .exports
        .iter()
        .map(|export| (export.id(), export.name.clone()))
        .collect();
    let missing: Vec<_> = keep
        .iter()
        .filter(|name| !all.iter().any(|(_, have)| have == *name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Err(format!("the module does not export {}", missing.join(", ")));
    }
    for (id, name) in &all {
        if !keep.contains(name) {
            module.exports.delete(*id);
        }
    }
    walrus::passes::gc::run(&mut module);
    Ok(Stripped {
        wasm: module.emit_wasm(),
        exports_before: all.len(),
    })
}
