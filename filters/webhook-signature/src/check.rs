//! The verification of one request: what the headers decide at once, and what only the body can.

use crate::encoding::encode_hex;
use crate::fault::Fault;
use crate::mac::Running;
use crate::read;
use crate::rule::Rule;
use crate::scheme::Scheme;
use crate::template::{Part, Payload, Values};
use crate::timestamp::Source;
use sha2::{Digest as _, Sha256};
use std::rc::Rc;
use subtle::Choice;
use tollgate_core::headers::Headers;
use tollgate_core::{Exchange, World};

/// A signed id longer than this is none.
const MAX_ID: usize = 256;

/// What the headers said.
pub(crate) enum Begun {
    /// Nothing more is needed: the secret at this position fits.
    Verified(usize),
    /// The body decides.
    Pending(Check),
}

/// A verification that waits for the body.
pub(crate) struct Check {
    pub(crate) rule: Rc<Rule>,
    /// The rule's leniency (report mode, missing signatures) holds for this request.
    pub(crate) lenient: bool,
    running: Vec<Running>,
    candidates: Vec<u8>,
    digest: Option<Sha256>,
    tail: Vec<Vec<u8>>,
    length: u64,
}

/// Judges the headers.
///
/// # Errors
/// They suffice to refuse.
pub(crate) fn begin(
    rule: &Rc<Rule>,
    lenient: bool,
    exchange: &Exchange,
    world: &dyn World,
) -> Result<Begun, Fault> {
    let scheme = &rule.scheme;
    let headers = &exchange.request;
    let reading = read::read(scheme, headers)?.ok_or(Fault::Missing)?;
    for (name, wanted) in &scheme.require {
        if sole(headers, name.as_str())? != Some(wanted.as_slice()) {
            return Err(Fault::Malformed(
                "a required header is missing or different",
            ));
        }
    }
    let id = signed_id(scheme, headers)?;
    let timestamp = match scheme.timestamp.as_ref().map(|t| &t.source) {
        Some(Source::Header(name)) => sole(headers, name.as_str())?.unwrap_or_default(),
        Some(Source::Field(_)) => reading.timestamp.as_deref().unwrap_or_default(),
        None => &[],
    };
    if let Some(rules) = &scheme.timestamp {
        let signed = rules
            .format
            .parse(timestamp)
            .ok_or(Fault::Malformed("the timestamp is missing or not readable"))?;
        let off = rules.skew(signed, world.now());
        rule.meters.skew(world, off);
        if !rules.tolerates(off) {
            return Err(Fault::Stale);
        }
    }
    if scheme.ignores_body() {
        let running = rule.secrets.iter().map(|s| s.key.start(&[])).collect();
        return verdict(running, &reading.candidates).map(Begun::Verified);
    }
    if exchange.bodyless && !rule.allow_empty_body {
        return Err(Fault::EmptyBody);
    }
    if announced_length(headers).is_some_and(|n| n > rule.max_body_bytes) {
        return Err(Fault::TooLarge);
    }
    let path = headers.first(":path").unwrap_or_default();
    let url = rule
        .public_url
        .as_ref()
        .map(|url| url.signed(path, &scheme.url_decode))
        .unwrap_or_default();
    let values = Values {
        timestamp,
        id,
        method: exchange.method(),
        path,
        url: &url,
        headers,
    };
    let mut running: Vec<Running> = rule
        .secrets
        .iter()
        .map(|secret| secret.key.start(&reading.candidates))
        .collect();
    let tail = render(&scheme.payload, &values, |bytes| {
        running.iter_mut().for_each(|mac| mac.update(bytes));
    })
    .map_err(|part| missing_part(part, headers))?;
    Ok(Begun::Pending(Check {
        rule: Rc::clone(rule),
        lenient,
        running,
        digest: scheme.payload.needs_digest().then(Sha256::new),
        candidates: reading.candidates,
        tail,
        length: 0,
    }))
}

impl Check {
    /// A piece of the body.
    ///
    /// # Errors
    /// The body is too large.
    pub(crate) fn update(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let more = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(more);
        if self.length > self.rule.max_body_bytes {
            return Err(Fault::TooLarge);
        }
        if self.rule.scheme.payload.body {
            self.running.iter_mut().for_each(|mac| mac.update(piece));
        }
        if let Some(digest) = &mut self.digest {
            digest.update(piece);
        }
        Ok(())
    }

    /// The body is complete: the position of the secret that fits.
    ///
    /// # Errors
    /// None does, or the body may not be empty.
    pub(crate) fn finish(mut self) -> Result<usize, Fault> {
        if self.length == 0 && !self.rule.allow_empty_body {
            return Err(Fault::EmptyBody);
        }
        let digest = self.digest.map(|d| encode_hex(&d.finalize()));
        for (i, bytes) in self.tail.iter().enumerate() {
            for mac in &mut self.running {
                if let (true, Some(digest)) = (i > 0, &digest) {
                    mac.update(digest.as_bytes());
                }
                mac.update(bytes);
            }
        }
        verdict(self.running, &self.candidates)
    }
}

/// Compares every secret with every candidate before it says which one fits.
fn verdict(running: Vec<Running>, candidates: &[u8]) -> Result<usize, Fault> {
    let choices: Vec<Choice> = running
        .into_iter()
        .map(|mac| mac.matches(candidates))
        .collect();
    choices
        .into_iter()
        .position(bool::from)
        .ok_or(Fault::Mismatch)
}

/// Hands what stands before the body to `head` and returns what stands after it. The error is a part
/// that has no value.
pub(crate) fn render<'p>(
    payload: &'p Payload,
    values: &Values<'_>,
    mut head: impl FnMut(&[u8]),
) -> Result<Vec<Vec<u8>>, &'p Part> {
    for part in &payload.head {
        head(part.bytes(values).ok_or(part)?);
    }
    payload
        .tail
        .iter()
        .map(|parts| {
            let mut bytes = Vec::new();
            for part in parts {
                bytes.extend_from_slice(part.bytes(values).ok_or(part)?);
            }
            Ok(bytes)
        })
        .collect()
}

/// The id, if it is signed. One that is not signed is nobody's proof and is not looked at.
fn signed_id<'h>(scheme: &Scheme, headers: &'h Headers) -> Result<&'h [u8], Fault> {
    let Some(name) = scheme.id.as_ref().filter(|_| scheme.signs(&Part::Id)) else {
        return Ok(&[]);
    };
    let id = sole(headers, name.as_str())?.unwrap_or_default();
    let good =
        !id.is_empty() && id.len() <= MAX_ID && !id.iter().any(|b| scheme.id_forbid.contains(b));
    good.then_some(id)
        .ok_or(Fault::Malformed("the id is missing or not allowed"))
}

fn missing_part(part: &Part, headers: &Headers) -> Fault {
    match part {
        Part::Header(name) if headers.sole(name.as_str()).is_err() => Fault::Duplicate,
        _ => Fault::Malformed("a signed header is missing"),
    }
}

fn sole<'h>(headers: &'h Headers, name: &str) -> Result<Option<&'h [u8]>, Fault> {
    headers.sole(name).map_err(|_| Fault::Duplicate)
}

/// `content-length`, as far as it can be read: the bytes are counted anyway.
fn announced_length(headers: &Headers) -> Option<u64> {
    std::str::from_utf8(headers.first("content-length")?)
        .ok()?
        .parse()
        .ok()
}
