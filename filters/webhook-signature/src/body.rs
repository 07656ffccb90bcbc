//! What is gathered from a body while it passes, beside the MACs that it is fed to.

use crate::fault::Fault;
use crate::form::Form;
use crate::place::BodyValues;
use crate::pointer::{Found, Scanner};
use crate::scheme::Scheme;
use sha2::{Digest as _, Sha256};

/// A body on its way.
pub(crate) struct Gather {
    digest: Option<Sha256>,
    scanner: Option<Scanner>,
    kept: Option<Vec<u8>>,
}

/// What a body turned out to be.
pub(crate) struct Gathered {
    /// SHA-256, where it was asked for.
    pub(crate) digest: Option<[u8; 32]>,
    /// The values that the scheme takes out of the body.
    pub(crate) values: Vec<Option<Vec<u8>>>,
    /// The body, where it was kept.
    pub(crate) kept: Vec<u8>,
}

impl Gather {
    /// Gathers what this scheme needs; `digest`: also the SHA-256, for another reason than its payload.
    pub(crate) fn new(scheme: &Scheme, digest: bool) -> Self {
        let by_form = matches!(&scheme.body_values, BodyValues::Form(_));
        Self {
            digest: (digest || scheme.payload.has_digest()).then(Sha256::new),
            scanner: match &scheme.body_values {
                BodyValues::Json(pointers) if !pointers.is_empty() => {
                    Some(Scanner::new(pointers.clone()))
                }
                _ => None,
            },
            kept: (by_form || scheme.payload.keeps_body()).then(Vec::new),
        }
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        if let Some(digest) = &mut self.digest {
            digest.update(piece);
        }
        if let Some(scanner) = &mut self.scanner {
            scanner.feed(piece);
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(piece);
        }
    }

    /// # Errors
    /// The body is not what the scheme takes values out of, or can be read in two ways.
    pub(crate) fn finish(self, scheme: &Scheme) -> Result<Gathered, Fault> {
        let kept = self.kept.unwrap_or_default();
        let values = match (&scheme.body_values, self.scanner) {
            (BodyValues::Form(names), _) => {
                let form = Form::parse(&kept).ok_or(NO_FORM)?;
                let value = |name: &Vec<u8>| {
                    let value = form.sole(name).map_err(|()| NO_FORM)?;
                    Ok(value.map(<[u8]>::to_vec))
                };
                names.iter().map(value).collect::<Result<_, Fault>>()?
            }
            (BodyValues::Json(_), Some(scanner)) => scanner
                .finish()
                .ok_or(NO_JSON)?
                .into_iter()
                .map(|found| match found {
                    Found::Nothing => Ok(None),
                    Found::Value(value) => Ok(Some(value)),
                    Found::Other => Err(NO_JSON),
                })
                .collect::<Result<_, Fault>>()?,
            (BodyValues::Json(_), None) => Vec::new(),
        };
        Ok(Gathered {
            digest: self.digest.map(|d| d.finalize().into()),
            values,
            kept,
        })
    }
}

const NO_FORM: Fault =
    Fault::Malformed("the body is not the form that this sender sends, or has a field twice");
const NO_JSON: Fault =
    Fault::Malformed("the body is not the JSON that this sender sends, or has a member twice");
