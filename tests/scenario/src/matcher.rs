//! What a value may be.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::bytes::{Bytes, show};

/// An expectation of one header, trailer, text or state value. In YAML: a plain value (exactly that), or one of
/// the forms below.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a value, {bytes:}, {repeat:, times:}, {absent: true}, {present: true}, {matches:}, {contains:}, {all: []} or {at_least:, at_most:}"
)]
pub enum Matcher {
    /// Exactly this value, exactly once.
    Exact(Bytes),
    /// One of the named forms.
    Form(Form),
}

/// The named forms of a [`Matcher`]; those given must all hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Form {
    /// Not there at all.
    pub absent: Option<Yes>,
    /// There, whatever it is.
    pub present: Option<Yes>,
    /// Each value matches this regular expression somewhere.
    pub matches: Option<Pattern>,
    /// Each value contains this (one text, or all of a list).
    pub contains: Option<OneOrMany>,
    /// No value contains any of these.
    pub lacks: Option<OneOrMany>,
    /// Exactly these values, in this order.
    pub all: Option<Vec<Bytes>>,
    /// A number of at least this.
    pub at_least: Option<i64>,
    /// A number of at most this.
    pub at_most: Option<i64>,
}

/// `true`, and only that.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "bool")]
pub struct Yes;

impl TryFrom<bool> for Yes {
    type Error = &'static str;
    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value {
            Ok(Self)
        } else {
            Err("only `true` makes sense here: leave it out, or use absent / present")
        }
    }
}

/// A regular expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = regex_lite::Error;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Regex::new(&text).map(Self)
    }
}

/// One value or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a value or a list of values (quote what holds `: ` or begins with a special character)"
)]
pub enum OneOrMany {
    /// One.
    One(Bytes),
    /// All of them.
    Many(Vec<Bytes>),
}

impl OneOrMany {
    fn list(&self) -> &[Bytes] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Matcher {
    /// Compares all values of one name; `Err` says what is wrong.
    ///
    /// # Errors
    /// What was expected and what was there.
    pub fn check(&self, values: &[&[u8]]) -> Result<(), String> {
        let had = || match values {
            [] => "absent".to_owned(),
            [one] => show(one),
            many => format!(
                "{} values: {}",
                many.len(),
                many.iter().map(|v| show(v)).collect::<Vec<_>>().join(", ")
            ),
        };
        let fail = |wanted: String| Err(format!("expected {wanted}, was {}", had()));
        let form = match self {
            Self::Exact(wanted) if values == [wanted.0.as_slice()] => return Ok(()),
            Self::Exact(wanted) => return fail(format!("{wanted:?}")),
            Self::Form(form) => form,
        };
        if form.absent.is_some() {
            return if values.is_empty() {
                Ok(())
            } else {
                fail("no value".to_owned())
            };
        }
        if let Some(all) = &form.all {
            return if values
                .iter()
                .copied()
                .eq(all.iter().map(|value| value.0.as_slice()))
            {
                Ok(())
            } else {
                fail(format!("exactly {all:?}"))
            };
        }
        if values.is_empty() {
            return fail("a value".to_owned());
        }
        for value in values {
            let text = String::from_utf8_lossy(value);
            if form
                .matches
                .as_ref()
                .is_some_and(|pattern| !pattern.0.is_match(&text))
            {
                return fail(format!(
                    "a match of {:?}",
                    form.matches.as_ref().map(|pattern| pattern.0.as_str())
                ));
            }
            let has = |part: &Bytes| contains(value, &part.0);
            if let Some(part) = form
                .contains
                .iter()
                .flat_map(OneOrMany::list)
                .find(|part| !has(part))
            {
                return fail(format!("something with {part:?}"));
            }
            if let Some(part) = form
                .lacks
                .iter()
                .flat_map(OneOrMany::list)
                .find(|part| has(part))
            {
                return fail(format!("nothing with {part:?}"));
            }
            if form.at_least.is_some() || form.at_most.is_some() {
                let (low, high) = (
                    form.at_least.unwrap_or(i64::MIN),
                    form.at_most.unwrap_or(i64::MAX),
                );
                if !text
                    .parse::<i64>()
                    .is_ok_and(|number| (low..=high).contains(&number))
                {
                    return fail(format!("a number from {low} to {high}"));
                }
            }
        }
        Ok(())
    }
}

/// Whether `part` occurs in `whole`.
#[must_use]
pub fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

/// An expectation of a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a text, or {equals:, contains:, lacks:, matches:, empty:, length:, json:}"
)]
pub enum BodyMatcher {
    /// Exactly these bytes.
    Exact(Bytes),
    /// One of the named forms.
    Form(Box<BodyForm>),
}

/// The named forms of a [`BodyMatcher`]; those given must all hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BodyForm {
    /// Exactly these bytes.
    pub equals: Option<Bytes>,
    /// All of these occur.
    pub contains: Option<OneOrMany>,
    /// None of these occurs.
    pub lacks: Option<OneOrMany>,
    /// A match somewhere.
    pub matches: Option<Pattern>,
    /// No byte at all.
    pub empty: Option<Yes>,
    /// This many bytes.
    pub length: Option<usize>,
    /// JSON pointer -> exactly this value, or `{absent: true}`, `{matches: }`, `{contains: }`.
    pub json: BTreeMap<String, Value>,
}

impl BodyMatcher {
    /// Compares a body; `Err` says what is wrong.
    ///
    /// # Errors
    /// What was expected and what was there.
    pub fn check(&self, body: &[u8]) -> Result<(), String> {
        let form = match self {
            Self::Exact(wanted) => return Matcher::Exact(wanted.clone()).check(&[body]),
            Self::Form(form) => form,
        };
        if let Some(wanted) = &form.equals {
            Matcher::Exact(wanted.clone()).check(&[body])?;
        }
        if form.empty.is_some() && !body.is_empty() {
            return Err(format!("expected no body, was {}", show(body)));
        }
        if form.length.is_some_and(|length| length != body.len()) {
            return Err(format!(
                "expected {:?} bytes, were {}",
                form.length,
                body.len()
            ));
        }
        let text = Form {
            contains: form.contains.clone(),
            lacks: form.lacks.clone(),
            matches: form.matches.clone(),
            ..Form::default()
        };
        Matcher::Form(text).check(&[body])?;
        if form.json.is_empty() {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| format!("no JSON ({error}): {}", show(body)))?;
        for (pointer, wanted) in &form.json {
            check_json(value.pointer(pointer), wanted)
                .map_err(|problem| format!("{pointer}: {problem} in {}", show(body)))?;
        }
        Ok(())
    }
}

fn check_json(had: Option<&Value>, wanted: &Value) -> Result<(), String> {
    let is_form = wanted.as_object().is_some_and(|object| {
        object.keys().any(|key| {
            [
                "absent", "present", "matches", "contains", "at_least", "at_most",
            ]
            .contains(&key.as_str())
        })
    });
    if is_form {
        let form: Form =
            serde_json::from_value(wanted.clone()).map_err(|error| error.to_string())?;
        let text = had.map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        });
        let values: Vec<&[u8]> = text.iter().map(String::as_bytes).collect();
        return Matcher::Form(form).check(&values);
    }
    // 60 and 60.0 are the same number here, as they are to Istio.
    let same = match (had, wanted) {
        (Some(Value::Number(had)), Value::Number(wanted)) => had.as_f64() == wanted.as_f64(),
        (had, wanted) => had == Some(wanted),
    };
    let shown = || had.map_or_else(|| "absent".to_owned(), Value::to_string);
    if same {
        Ok(())
    } else {
        Err(format!("expected {wanted}, was {}", shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(yaml: &str) -> Matcher {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    #[test]
    fn every_form_can_fail() {
        type Values<'a> = &'a [&'a [u8]];
        let cases: &[(&str, Values<'_>, Values<'_>)] = &[
            ("\"1\"", &[b"1"], &[b"1", b"1"]),
            ("1", &[b"1"], &[b"2"]),
            ("{bytes: 'a\\xff'}", &[b"a\xff"], &[b"a"]),
            ("{absent: true}", &[], &[b""]),
            ("{present: true}", &[b""], &[]),
            ("{matches: '^a+$'}", &[b"aa", b"a"], &[b"aa", b"b"]),
            ("{contains: [a, b]}", &[b"xbxa"], &[b"a"]),
            ("{lacks: [a, b]}", &[b"c"], &[b"xb"]),
            ("{all: [a, b]}", &[b"a", b"b"], &[b"b", b"a"]),
            ("{at_least: 2, at_most: 3}", &[b"3"], &[b"4"]),
        ];
        for (yaml, good, bad) in cases {
            assert_eq!(matcher(yaml).check(good), Ok(()), "{yaml}");
            assert!(matcher(yaml).check(bad).is_err(), "{yaml}");
        }
    }

    #[test]
    fn unknown_forms_are_refused() {
        assert!(serde_yaml_ng::from_str::<Matcher>("{contians: a}").is_err());
        assert!(serde_yaml_ng::from_str::<Matcher>("{absent: false}").is_err());
    }

    #[test]
    fn json_pointers() {
        let body = br#"{"type":"x","n":60.0,"list":[1,{"a":"bc"}]}"#;
        let check = |yaml: &str| {
            serde_yaml_ng::from_str::<BodyMatcher>(yaml)
                .unwrap()
                .check(body)
        };
        assert_eq!(
            check("{json: {/type: x, /n: 60, /list/1/a: {contains: c}, /no: {absent: true}}}"),
            Ok(())
        );
        for bad in [
            "{json: {/type: y}}",
            "{json: {/n: 61}}",
            "{json: {/type: {absent: true}}}",
            "{json: {/no: 1}}",
            "{empty: true}",
            "{length: 3}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
