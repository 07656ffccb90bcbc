//! The payload, fed to one MAC a secret: what the headers say before the body, and what is known only after it.

use crate::body::Gathered;
use crate::check::Verified;
use crate::encoding::Encoding;
use crate::fault::Fault;
use crate::form::Form;
use crate::mac::Running;
use crate::place::Place;
use crate::rule::Rule;
use crate::template::{Part, Values};
use sha2::{Digest as _, Sha256};
use subtle::Choice;
use tollgate_core::headers::Headers;

/// One reading of what was signed. There are several where senders differ in how they write the URL.
pub(crate) struct Lane {
    macs: Vec<Running>,
    /// Identifies the delivery where no id and no MAC does.
    print: Option<Sha256>,
    tail: Vec<Piece>,
}

/// A part of the payload after its first dependence on the body.
enum Piece {
    Known(Vec<u8>),
    Late(Part),
}

/// What only the body said.
pub(crate) struct Late<'a> {
    pub(crate) timestamp: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) gathered: &'a Gathered,
    pub(crate) form: bool,
}

impl Lane {
    /// One for a token: nothing is signed.
    pub(crate) fn of_tokens(rule: &Rule) -> Self {
        Self {
            macs: rule.secrets.iter().map(|s| s.key.start(&[])).collect(),
            print: None,
            tail: Vec::new(),
        }
    }

    /// Feeds what stands before the body.
    ///
    /// # Errors
    /// A signed header is missing, or was sent more than once.
    pub(crate) fn begin(
        rule: &Rule,
        values: &Values<'_>,
        candidates: &[u8],
    ) -> Result<Self, Fault> {
        let payload = &rule.scheme.payload;
        let missing = |part: &Part| missing_part(part, values.headers);
        let start = |secret: &crate::secret::Secret| secret.key.start(candidates);
        let mut lane = Self {
            macs: rule.secrets.iter().map(start).collect(),
            print: rule.needs_print().then(Sha256::new),
            tail: Vec::with_capacity(payload.tail.len()),
        };
        for part in &payload.head {
            lane.update(part.bytes(values).map_err(missing)?.unwrap_or_default());
        }
        let scheme = &rule.scheme;
        for part in &payload.tail {
            let late = match part {
                Part::Timestamp => scheme
                    .timestamp
                    .as_ref()
                    .is_some_and(|t| t.source.is_late()),
                Part::Id => scheme.id.as_ref().is_some_and(Place::is_late),
                _ => false,
            };
            let known = if late {
                None
            } else {
                part.bytes(values).map_err(missing)?
            };
            lane.tail.push(match known {
                Some(bytes) => Piece::Known(bytes.to_vec()),
                None => Piece::Late(part.clone()),
            });
        }
        Ok(lane)
    }

    /// More of what is signed.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.macs.iter_mut().for_each(|mac| mac.update(bytes));
        if let Some(print) = &mut self.print {
            print.update(bytes);
        }
    }

    /// Adds what comes after the body.
    ///
    /// # Errors
    /// A signed value is missing in the body.
    pub(crate) fn end(&mut self, late: &Late<'_>) -> Result<(), Fault> {
        for piece in std::mem::take(&mut self.tail) {
            match piece {
                Piece::Known(bytes) => self.update(&bytes),
                Piece::Late(Part::Timestamp) => self.update(late.timestamp),
                Piece::Late(Part::Id) => self.update(late.id),
                Piece::Late(Part::Body) => self.update(&late.gathered.kept),
                Piece::Late(Part::BodyDigest(encoding)) => {
                    self.update(digest_text(late.gathered, encoding).as_bytes());
                }
                Piece::Late(Part::SortedForm) if late.form => {
                    let form = Form::parse(&late.gathered.kept)
                        .ok_or(Fault::Malformed("the form has too many fields"))?;
                    form.sorted(|bytes| self.update(bytes));
                }
                Piece::Late(Part::Value(at)) => {
                    let value = late.gathered.values.get(at).and_then(Option::as_deref);
                    let missing = Fault::Malformed("a signed value is missing in the body");
                    self.update(value.ok_or(missing)?);
                }
                Piece::Late(_) => {}
            }
        }
        Ok(())
    }
}

fn digest_text(gathered: &Gathered, encoding: Encoding) -> String {
    let digest = gathered.digest.unwrap_or_default();
    encoding.encode(&digest).unwrap_or_default()
}

/// Compares every secret with every candidate, in all readings, before it says which one fits.
///
/// Without an id a delivery is what its first secret makes of it, whichever fits: while a secret is rolled, a request has
/// signatures by both, and leaving one of them out must not make it another delivery.
///
/// # Errors
/// None fits.
pub(crate) fn verdict(lanes: Vec<Lane>, candidates: &[u8], id: Vec<u8>) -> Result<Verified, Fault> {
    let mut found = None;
    for lane in lanes {
        let verdicts: Vec<(Choice, Vec<u8>)> = lane
            .macs
            .into_iter()
            .map(|mac| mac.matches(candidates))
            .collect();
        let fits = verdicts.iter().position(|(choice, _)| bool::from(*choice));
        let print = lane.print.map(|p| p.finalize().to_vec());
        let first = verdicts.into_iter().next().map(|(_, digest)| digest);
        if let (None, Some(secret)) = (&found, fits) {
            found = Some((secret, print.or(first).unwrap_or_default()));
        }
    }
    let (secret, digest) = found.ok_or(Fault::Mismatch)?;
    Ok(Verified {
        secret,
        identity: if id.is_empty() { digest } else { id },
        signed_at: None,
    })
}

fn missing_part(part: &Part, headers: &Headers) -> Fault {
    match part {
        Part::Header(name) if headers.sole(name.as_str()).is_err() => Fault::Duplicate,
        _ => Fault::Malformed("a signed header is missing"),
    }
}
