//! Build steps that cargo does not have.
//!
//! | command | what it does |
//! |---|---|
//! | `xtask strip-exports IN OUT --module NAME` | keeps the exports that `exports.txt` lists for NAME, removes what becomes unreachable |
//! | `xtask strip-exports IN OUT --keep a,b,c` | the same with the list given |
//! | `xtask order-functions IN OUT --module NAME` | puts the functions that `profile.txt` has for NAME before the others |
//! | `xtask hint-branches IN OUT --module NAME` | tells engines which way branches go, as far as `profile.txt` knows it |
//! | `xtask instrument IN OUT` | makes a module count what it runs, for `make profile` |
//! | `xtask write-profile FILE --module NAME --of MODULE --counts COUNTS` | puts what was counted into a profile |

pub mod functions;
pub mod hints;
pub mod instrument;
pub mod keep;
pub mod names;
pub mod order;
pub mod profile;
pub mod strip;

use wasm_encoder::Module;
use wasm_encoder::reencode::{Error, Reencode};

/// Writes a module anew, with what `how` changes.
fn rewritten(module: &[u8], mut how: impl Reencode<Error = String>) -> Result<Vec<u8>, String> {
    let mut new = Module::new();
    how.parse_core_module(&mut new, wasmparser::Parser::new(0), module)
        .map_err(|error| match error {
            Error::ParseError(cause) => cause.to_string(),
            other => other.to_string(),
        })?;
    let new = new.finish();
    valid(&new).map_err(|error| format!("rewriting went wrong: {error}"))?;
    Ok(new)
}

fn valid(module: &[u8]) -> Result<(), String> {
    match wasmparser::Validator::new().validate_all(module) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("not a WebAssembly module: {error}")),
    }
}
