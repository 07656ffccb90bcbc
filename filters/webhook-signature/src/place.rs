//! Where a value of a request stands: in a header, in the signature header, or in the body.

use crate::pointer::Pointer;
use std::rc::Rc;
use tollgate_core::config::Section;
use tollgate_core::headers::HeaderName;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a header of its own.
    Header(HeaderName),
    /// An item of the signature header, by its key.
    Field(Vec<u8>),
    /// In the body: a position in [`BodyValues`].
    Body(usize),
}

impl Place {
    /// Whether it is known only after the body.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Self::Body(_))
    }
}

/// The values that a scheme takes out of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyValues {
    /// By JSON pointer. None at all for most schemes.
    Json(Rc<[Pointer]>),
    /// Fields of a form, by their names.
    Form(Rc<[Vec<u8>]>),
}

impl BodyValues {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Json(pointers) => pointers.is_empty(),
            Self::Form(names) => names.is_empty(),
        }
    }
}

/// Gathers the values that a scheme takes out of the body while its fields are read.
#[derive(Default)]
pub(crate) struct Wanted {
    json: Vec<Pointer>,
    form: Vec<Vec<u8>>,
}

impl Wanted {
    /// A value by JSON pointer. `None`: it is none.
    pub(crate) fn json(&mut self, pointer: &str) -> Option<usize> {
        Pointer::parse(pointer).map(|pointer| position_of(&mut self.json, pointer))
    }

    /// A field of a form.
    pub(crate) fn form(&mut self, name: &str) -> Option<usize> {
        (!name.is_empty()).then(|| position_of(&mut self.form, name.as_bytes().to_vec()))
    }

    /// Reads `json_pointer` or `form_field` out of a section; `None` if it has neither (or an error was noted).
    pub(crate) fn of_section(&mut self, section: &Section<'_>) -> Option<Place> {
        let json = section.optional("json_pointer");
        let form = section.optional("form_field");
        match (json, form) {
            (Some(v), None) => {
                let at = self.json(v.text()?);
                v.accept(
                    at,
                    "must be a JSON pointer such as /signature/token (RFC 6901)",
                )
            }
            (None, Some(v)) => self.form(v.nonempty()?),
            (Some(_), Some(_)) => {
                section.error("json_pointer and form_field exclude each other");
                None
            }
            (None, None) => None,
        }
        .map(Place::Body)
    }

    /// All of them. `None`: the body cannot be both JSON and a form.
    pub(crate) fn finish(self) -> Option<BodyValues> {
        match (self.json.is_empty(), self.form.is_empty()) {
            (_, true) => Some(BodyValues::Json(self.json.into())),
            (true, false) => Some(BodyValues::Form(self.form.into())),
            (false, false) => None,
        }
    }
}

fn position_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|i| *i == item).unwrap_or_else(|| {
        list.push(item);
        list.len().saturating_sub(1)
    })
}
