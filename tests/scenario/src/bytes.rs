//! Values that need not be text.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// Bytes, written in YAML as a string, a number, `{bytes: "a\\xff"}` (escapes `\xNN \r \n \t \0 \\`)
/// `{repeat: "x", times: 1000}`, or `{join: [...]}` of these.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// As text, if it is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.0))
    }
}

/// Bytes for a message: escaped, and cut after 300 bytes.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    let cut = bytes.len().min(300);
    let more = if bytes.len() > cut {
        format!("... ({} bytes)", bytes.len())
    } else {
        String::new()
    };
    match std::str::from_utf8(&bytes[..cut]) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => format!("\"{}\"{more}", bytes[..cut].escape_ascii()),
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a string, a number, {bytes: \"a\\\\xff\"}, {repeat: x, times: n} or {join: [...]}"
)]
enum Raw {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Escaped(Escaped),
    Repeated(Repeated),
    Joined(Joined),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Escaped {
    bytes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeated {
    repeat: String,
    times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Joined {
    join: Vec<Bytes>,
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Raw::deserialize(deserializer)? {
            Raw::Text(text) => text.into_bytes(),
            Raw::Integer(number) => number.to_string().into_bytes(),
            Raw::Float(number) => number.to_string().into_bytes(),
            Raw::Bool(value) => value.to_string().into_bytes(),
            Raw::Escaped(Escaped { bytes }) => {
                unescape(&bytes).map_err(serde::de::Error::custom)?
            }
            Raw::Repeated(Repeated { repeat, times }) => repeat.repeat(times).into_bytes(),
            Raw::Joined(Joined { join }) => join.into_iter().flat_map(|part| part.0).collect(),
        }))
    }
}

/// Reads backslash escapes.
///
/// # Errors
/// An escape that is not one of `\xNN \r \n \t \0 \\`.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let escape = rest.next();
        out.push(match escape {
            Some(b'x') => {
                let digit =
                    |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err(format!("\\x needs two hex digits: {text}"));
                };
                (high * 16 + low) as u8
            }
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            _ => return Err(format!("unknown escape in {text}")),
        });
    }
    Ok(out)
}
