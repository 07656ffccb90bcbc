//! The verification of one request: what the headers decide at once, and what only the body can.

use crate::body::Gather;
use crate::carrier::Carrier;
use crate::encoding::decode_hex;
use crate::fault::Fault;
use crate::lane::{Lane, Late, verdict};
use crate::place::Place;
use crate::read;
use crate::rule::Rule;
use crate::scheme::Scheme;
use crate::template::{Part, Values};
use crate::url;
use std::rc::Rc;
use subtle::ConstantTimeEq as _;
use tollgate_core::headers::Headers;
use tollgate_core::{Exchange, UnixNanos, World};

/// A signed id longer than this is none.
const MAX_ID: usize = 256;

/// What the headers said.
pub(crate) enum Begun {
    /// Nothing more is needed.
    Verified(Verified),
    /// The body decides.
    Pending(Box<Check>),
}

/// A request that is what its sender sent.
pub(crate) struct Verified {
    /// The position of the secret that fits.
    pub(crate) secret: usize,
    /// What makes this delivery another one than the next: the signed id, or a digest of all that was signed.
    pub(crate) identity: Vec<u8>,
    /// When it was signed, if that is a part of its identity: each copy of the delivery says the same.
    pub(crate) signed_at: Option<UnixNanos>,
}

impl Verified {
    /// A signed id is the same in each attempt of the sender, which has a time of its own.
    fn signed(self, at: Option<UnixNanos>, by_id: bool) -> Self {
        Self {
            signed_at: at.filter(|_| !by_id),
            ..self
        }
    }
}

/// A verification that waits for the body.
pub(crate) struct Check {
    pub(crate) rule: Rc<Rule>,
    /// The rule's leniency (report mode, missing signatures) holds for this request.
    pub(crate) lenient: bool,
    candidates: Vec<u8>,
    lanes: Vec<Lane>,
    gather: Gather,
    /// What the body's SHA-256 must be.
    expected_digest: Option<[u8; 32]>,
    /// The body is a form.
    form: bool,
    id: Vec<u8>,
    signed_at: Option<UnixNanos>,
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
    let reading = match &scheme.carrier {
        Carrier::Body(_) if exchange.bodyless => return Err(Fault::Missing),
        Carrier::Body(_) => read::Reading::default(),
        _ => read::read(scheme, headers)?.ok_or(Fault::Missing)?,
    };
    for (name, wanted) in &scheme.require {
        if sole(headers, name.as_str())? != Some(wanted.as_slice()) {
            return Err(Fault::Malformed(
                "a required header is missing or different",
            ));
        }
    }
    let id = match scheme.id.as_ref().filter(|_| scheme.id_is_signed()) {
        Some(Place::Header(name)) => {
            good_id(scheme, sole(headers, name.as_str())?.unwrap_or_default())?
        }
        _ => &[],
    };
    let timestamp = match scheme.timestamp.as_ref().map(|t| &t.source) {
        Some(Place::Header(name)) => sole(headers, name.as_str())?.unwrap_or_default(),
        Some(Place::Field(_)) => reading.timestamp.as_deref().unwrap_or_default(),
        Some(Place::Body(_)) | None => &[],
    };
    let mut signed_at = None;
    if !scheme.timestamp.as_ref().is_none_or(|t| t.source.is_late()) {
        signed_at = check_time(rule, timestamp, world)?;
    }
    if scheme.ignores_body() {
        return verdict(vec![Lane::of_tokens(rule)], &reading.candidates, Vec::new())
            .map(Begun::Verified);
    }
    if exchange.bodyless && !rule.allow_empty_body {
        return Err(Fault::EmptyBody);
    }
    if announced_length(headers).is_some_and(|n| n > rule.max_body_bytes) {
        return Err(Fault::TooLarge);
    }
    let path = headers.first(":path").unwrap_or_default();
    let urls = rule.signed_urls(path);
    let form = scheme.signs(&Part::SortedForm) && is_form(headers);
    let first_url = urls.first().map(Vec::as_slice).unwrap_or_default();
    let expected_digest = expected_digest(scheme, first_url, form, exchange.bodyless)?;
    let mut lanes = Vec::with_capacity(urls.len());
    for url in &urls {
        let values = Values {
            timestamp,
            id,
            method: exchange.method(),
            path,
            url,
            headers,
        };
        lanes.push(Lane::begin(rule, &values, &reading.candidates)?);
    }
    Ok(Begun::Pending(Box::new(Check {
        rule: Rc::clone(rule),
        lenient,
        lanes,
        gather: Gather::new(scheme, expected_digest.is_some()),
        expected_digest,
        form,
        candidates: reading.candidates,
        id: id.to_vec(),
        signed_at,
        length: 0,
    })))
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
        if self.rule.scheme.payload.streams {
            self.lanes.iter_mut().for_each(|lane| lane.update(piece));
        }
        self.gather.update(piece);
        Ok(())
    }

    /// The body is complete.
    ///
    /// # Errors
    /// No secret fits, or the body is not what it must be.
    pub(crate) fn finish(self, world: &dyn World) -> Result<Verified, Fault> {
        let rule = self.rule;
        let scheme = &rule.scheme;
        if self.length == 0 && !rule.allow_empty_body {
            return Err(Fault::EmptyBody);
        }
        let gathered = self.gather.finish(scheme)?;
        let value = |at: usize| gathered.values.get(at).and_then(Option::as_deref);
        let candidates = match &scheme.carrier {
            Carrier::Body(at) => {
                let text = value(*at).ok_or(Fault::Missing)?;
                read::read_values(scheme, [text])?.candidates
            }
            _ => self.candidates,
        };
        let mut timestamp = &[][..];
        let mut signed_at = self.signed_at;
        if let Some(Place::Body(at)) = scheme.timestamp.as_ref().map(|t| &t.source) {
            timestamp = value(*at).unwrap_or_default();
            signed_at = check_time(&rule, timestamp, world)?;
        }
        let id = match &scheme.id {
            Some(Place::Body(at)) if scheme.id_is_signed() => {
                good_id(scheme, value(*at).unwrap_or_default())?.to_vec()
            }
            _ => self.id,
        };
        if let Some(expected) = self.expected_digest {
            let right = gathered.digest.is_some_and(|d| d.ct_eq(&expected).into());
            if !right {
                return Err(Fault::Mismatch);
            }
        }
        let late = Late {
            timestamp,
            id: &id,
            gathered: &gathered,
            form: self.form,
        };
        let mut lanes = self.lanes;
        for lane in &mut lanes {
            lane.end(&late)?;
        }
        let by_id = !id.is_empty();
        verdict(lanes, &candidates, id).map(|v| v.signed(signed_at, by_id))
    }
}

/// Holds a timestamp against the clock; which one it is.
fn check_time(rule: &Rule, text: &[u8], world: &dyn World) -> Result<Option<UnixNanos>, Fault> {
    let Some(rules) = &rule.scheme.timestamp else {
        return Ok(None);
    };
    let signed = rules
        .format
        .parse(text)
        .ok_or(Fault::Malformed("the timestamp is missing or not readable"))?;
    let off = rules.skew(signed, world.now());
    rule.meters.skew(world, off);
    if rules.tolerates(off) {
        Ok(Some(signed))
    } else {
        Err(Fault::Stale)
    }
}

/// The id, if it is one.
fn good_id<'h>(scheme: &Scheme, id: &'h [u8]) -> Result<&'h [u8], Fault> {
    let good =
        !id.is_empty() && id.len() <= MAX_ID && !id.iter().any(|b| scheme.id_forbid.contains(b));
    good.then_some(id)
        .ok_or(Fault::Malformed("the id is missing or not allowed"))
}

/// What the signed URL says that the body's SHA-256 is. A form is signed itself and needs none; nor does no body.
fn expected_digest(
    scheme: &Scheme,
    signed_url: &[u8],
    form: bool,
    bodyless: bool,
) -> Result<Option<[u8; 32]>, Fault> {
    let Some(name) = scheme.body_digest_query.as_ref().filter(|_| !form) else {
        if scheme.signs(&Part::SortedForm) && !form && !bodyless {
            return Err(Fault::Malformed("the body is no form"));
        }
        return Ok(None);
    };
    let text = url::query_value(signed_url, name)
        .map_err(|()| Fault::Malformed("the body's digest is there more than once"))?;
    match text {
        Some(text) => decode_hex(text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Some)
            .ok_or(Fault::Malformed("the body's digest is not readable")),
        None if bodyless => Ok(None),
        None => Err(Fault::Malformed("the body's digest is missing")),
    }
}

/// Whether the body says that it is a form.
pub(crate) fn is_form(headers: &Headers) -> bool {
    let value = headers.sole("content-type").ok().flatten();
    let essence = value
        .unwrap_or_default()
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
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
