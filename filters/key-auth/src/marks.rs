//! Which names of headers are worth a second look.

use tollgate_core::Headers;

/// Marks of some names. Hardly any other name is as long as one of them and ends like one, so that most requests have
/// nothing to be compared.
#[derive(Default)]
pub(crate) struct Marks {
    lengths: u64,
    ends: u64,
}

impl Marks {
    pub(crate) fn add(&mut self, name: &[u8]) {
        self.lengths |= length(name.len());
        self.ends |= end(name);
    }

    /// Whether a name among these could be one of them, be it with `_` for `-`. Right whenever it says no.
    pub(crate) fn could_be_in(&self, headers: &Headers) -> bool {
        let mut names = headers.names_of_length(|len| self.lengths & length(len) != 0);
        names.any(|name| self.ends & end(name) != 0)
    }
}

/// A bit for the length, the last for all that are longer.
fn length(len: usize) -> u64 {
    1 << len.min(63)
}

/// A bit for how the name ends, the same for `_` and `-`.
fn end(name: &[u8]) -> u64 {
    match name.last() {
        Some(b'_') => 1 << (b'-' & 63),
        Some(end) => 1 << (end & 63),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_name_is_overlooked(names in prop::collection::vec("[a-z_-]{1,80}", 1..8)) {
            let mut marks = Marks::default();
            for name in &names {
                marks.add(name.as_bytes());
            }
            for name in &names {
                for written in [name.clone(), name.replace('-', "_"), name.replace('_', "-")] {
                    let headers = Headers::from_pairs([(":path", "/"), (&written, "x")]);
                    prop_assert!(marks.could_be_in(&headers), "{}", written);
                }
            }
        }
    }

    #[test]
    fn what_browsers_and_envoy_send_is_not_looked_at_twice() {
        let mut marks = Marks::default();
        for own in [
            "x-consumer-id",
            "x-consumer-groups",
            "access-control-request-method",
        ] {
            marks.add(own.as_bytes());
        }
        for other in [
            ":method",
            ":path",
            ":scheme",
            ":authority",
            "accept",
            "accept-encoding",
            "accept-language",
            "authorization",
            "content-length",
            "content-type",
            "cookie",
            "origin",
            "referer",
            "sec-fetch-mode",
            "user-agent",
            "x-api-key",
            "x-envoy-external-address",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-request-id",
            "traceparent",
        ] {
            let headers = Headers::from_pairs([(other, "x")]);
            assert!(!marks.could_be_in(&headers), "{other}");
        }
    }
}
