//! Names of functions without what changes from build to build.
//!
//! `readable` in `benches/envoy/callgrind.py` does the same for its reports, so that names in them are found in `profile.txt`: both
//! are held to `tests/names.txt`.

/// Legacy mangling (`_ZN`, lengths and words, the last word a hash) becomes `word::word`; another name stays as it is. Escapes
/// within a word (`$LT$`) stay, too: a name is only compared here.
#[must_use]
pub fn readable(name: &str) -> String {
    legacy(name)
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| name.to_owned())
}

fn legacy(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("_ZN")?;
    let mut words = Vec::new();
    while rest.starts_with(|first: char| first.is_ascii_digit()) {
        let after = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let length = rest.strip_suffix(after)?.parse().ok()?;
        let (word, next) = after.split_at_checked(length)?;
        words.push(word);
        rest = next;
    }
    words.pop();
    Some(words.join("::"))
}
