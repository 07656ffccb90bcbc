//! `tollgate keys`: make a key, hash keys, check a key set.

use clap::{Args, Subcommand};
use std::io::{self, BufRead, Write};
use tollgate_key_auth::{Digest, KeySet};

/// Make API keys, hash them, check key sets.
///
/// Keys are read from the standard input, never from the command line: that ends up in process lists and histories.
#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print a new random key: 32 bytes in hex, after a prefix.
    New {
        /// What it begins with, such as `ps_live_`.
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Print the SHA-256 of each line of the standard input, as `sha256` and key sets take it.
    Hash {
        /// Base64 without padding instead of hex: what is shortest in a key set.
        #[arg(long)]
        base64: bool,
    },
    /// Check a key set as the filter will, and print how many keys it has and its SHA-256 for `remote_keys.sha256`.
    ///
    /// Exit status: 0 if it is good, 1 if not, 2 if it cannot be read.
    Check {
        /// The file; `-` is the standard input.
        file: String,
    },
}

/// Does what was asked; the exit status.
pub(crate) fn run(keys: &Keys, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<u8> {
    match &keys.verb {
        Verb::New { prefix } => {
            let mut bytes = [0_u8; 32];
            getrandom::fill(&mut bytes).map_err(io::Error::other)?;
            writeln!(out, "{prefix}{}", hex(&bytes))?;
            Ok(0)
        }
        Verb::Hash { base64 } => hash(*base64, input, out),
        Verb::Check { file } => check(file, input, out),
    }
}

fn hash(base64: bool, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<u8> {
    let mut line = Vec::new();
    let mut some = false;
    while input.read_until(b'\n', &mut line)? > 0 {
        let key = line.strip_suffix(b"\n").unwrap_or(&line);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        if key.is_empty() || key.trim_ascii() != key {
            let why = "a key is empty, or begins or ends with white space, which no header keeps";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        some = true;
        let digest = Digest::of(key);
        if base64 {
            writeln!(out, "{}", digest.base64())?;
        } else {
            writeln!(out, "{}", hex(digest.bytes()))?;
        }
        line.clear();
    }
    if some {
        Ok(0)
    } else {
        let why = "there is no key on the standard input";
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

fn check(file: &str, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<u8> {
    let mut bytes = Vec::new();
    if file == "-" {
        input.read_to_end(&mut bytes)?;
    } else {
        bytes =
            std::fs::read(file).map_err(|e| io::Error::new(e.kind(), format!("{file}: {e}")))?;
    }
    match KeySet::parse(&bytes) {
        Ok(set) => {
            let digest = hex(Digest::of(&bytes).bytes());
            writeln!(out, "{file}: {} keys, sha256 {digest}", set.keys())?;
            Ok(0)
        }
        Err(why) => {
            writeln!(out, "{file}: error: {why}")?;
            Ok(1)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
