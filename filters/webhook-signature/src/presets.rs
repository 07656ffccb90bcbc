//! Well-known schemes, as data: `presets.json`. To add one, add its entry there and its vectors to
//! `tests/vectors/webhooks.json`.

use crate::scheme::Scheme;
use std::rc::Rc;
use tollgate_core::config::{Report, Root, parse};

const PRESETS: &str = include_str!("presets.json");

/// The parsed file, so that a configuration with many rules reads it once.
pub(crate) struct Presets(Option<Root>);

impl Presets {
    pub(crate) fn load() -> Self {
        Self(parse(PRESETS, &Report::default()))
    }

    /// The preset of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Scheme> {
        let report = Report::default();
        let section = self.0.as_ref()?.value(&report).section()?;
        let (_, value) = section.entries().into_iter().find(|(n, _)| *n == name)?;
        Scheme::compile(value.section()?, Rc::from(name)).filter(|_| report.is_ok())
    }

    /// All names, in the order of the file.
    pub(crate) fn names(&self) -> Vec<String> {
        let report = Report::default();
        self.0
            .as_ref()
            .and_then(|root| root.value(&report).section())
            .map(|section| {
                section
                    .entries()
                    .iter()
                    .map(|(name, _)| (*name).to_owned())
                    .collect()
            })
            .unwrap_or_default()
    }
}

/// The preset of that name.
#[must_use]
pub fn preset(name: &str) -> Option<Scheme> {
    Presets::load().get(name)
}

/// The names of all presets.
#[must_use]
pub fn preset_names() -> Vec<String> {
    Presets::load().names()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_compiles() {
        let presets = Presets::load();
        let names = presets.names();
        assert!(names.len() >= 30, "{names:?}");
        for name in names {
            assert!(presets.get(&name).is_some(), "{name}");
        }
        assert!(presets.get("nobody").is_none());
    }

    #[test]
    fn the_engine_knows_no_vendor() {
        let presets = Presets::load();
        let sources = [
            include_str!("body.rs"),
            include_str!("carrier.rs"),
            include_str!("check.rs"),
            include_str!("contradictions.rs"),
            include_str!("ecdsa.rs"),
            include_str!("ed25519.rs"),
            include_str!("encoding.rs"),
            include_str!("fault.rs"),
            include_str!("form.rs"),
            include_str!("handshake.rs"),
            include_str!("lane.rs"),
            include_str!("lib.rs"),
            include_str!("mac.rs"),
            include_str!("meters.rs"),
            include_str!("place.rs"),
            include_str!("pointer.rs"),
            include_str!("read.rs"),
            include_str!("replay.rs"),
            include_str!("rule.rs"),
            include_str!("scheme.rs"),
            include_str!("secret.rs"),
            include_str!("sign.rs"),
            include_str!("template.rs"),
            include_str!("timestamp.rs"),
            include_str!("url.rs"),
        ];
        // Everyday words that are also names of presets.
        let words = ["line", "linear", "meta", "square", "zoom", "x-signature"];
        for name in presets.names() {
            for source in sources.iter().filter(|_| !words.contains(&name.as_str())) {
                let code = source.split("#[cfg(test)]").next().unwrap_or_default();
                assert!(!code.contains(&format!("\"{name}\"")), "{name}");
            }
        }
    }
}
