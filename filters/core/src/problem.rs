//! Problem details (RFC 9457), the body of every local reply.

use crate::flow::{GrpcStatus, LocalReply};
use std::borrow::Cow;

/// Start of every problem type of Tollgate; `docs/problems.md` lists the names. A URN, because a
/// type is an identifier first, and a filter cannot promise that a web page stays.
pub const BASE: &str = "urn:tollgate:problem:";

/// Builds one problem+json reply.
///
/// ```
/// use tollgate_core::{flow::GrpcStatus, problem::Problem};
/// let reply = Problem::new(401, "key-missing", "No API key", GrpcStatus::UNAUTHENTICATED)
///     .detail("Send your key in the header x-api-key.")
///     .reply("tollgate_key_missing");
/// assert_eq!(
///     String::from_utf8(reply.body).unwrap(),
///     "{\"type\":\"urn:tollgate:problem:key-missing\",\"title\":\"No API key\",\"status\":401,\
///      \"detail\":\"Send your key in the header x-api-key.\"}"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    status: u16,
    grpc: GrpcStatus,
    json: String,
    message: String,
}

impl Problem {
    /// `name` is the last part of the type; a name with a `:` is a whole type of its own.
    #[must_use]
    pub fn new(status: u16, name: &str, title: &str, grpc: GrpcStatus) -> Self {
        let mut json = String::with_capacity(160);
        json.push_str("{\"type\":");
        if name.contains(':') {
            push_string(&mut json, name);
        } else {
            push_string(&mut json, &[BASE, name].concat());
        }
        json.push_str(",\"title\":");
        push_string(&mut json, title);
        json.push_str(",\"status\":");
        json.push_str(&status.to_string());
        Self {
            status,
            grpc,
            json,
            message: title.to_owned(),
        }
    }

    /// What went wrong this time and what to do, for a person.
    #[must_use]
    pub fn detail(mut self, text: &str) -> Self {
        self.message.push_str(": ");
        self.message.push_str(text);
        self.string("detail", text)
    }

    /// An extension member with a string value.
    #[must_use]
    pub fn string(mut self, name: &str, value: &str) -> Self {
        self.member(name);
        push_string(&mut self.json, value);
        self
    }

    /// An extension member with an integer value.
    #[must_use]
    pub fn number(mut self, name: &str, value: u64) -> Self {
        self.member(name);
        self.json.push_str(&value.to_string());
        self
    }

    /// An extension member with a list of strings.
    #[must_use]
    pub fn strings<'a>(mut self, name: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        self.member(name);
        self.json.push('[');
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.json.push(',');
            }
            push_string(&mut self.json, value);
        }
        self.json.push(']');
        self
    }

    /// The finished local reply.
    #[must_use]
    pub fn reply(mut self, details: impl Into<Cow<'static, str>>) -> LocalReply {
        self.json.push('}');
        LocalReply {
            status: self.status,
            headers: vec![
                (
                    Cow::Borrowed("content-type"),
                    b"application/problem+json".to_vec(),
                ),
                (Cow::Borrowed("cache-control"), b"no-store".to_vec()),
            ],
            body: self.json.into_bytes(),
            details: details.into(),
            grpc: self.grpc,
            message: self.message,
        }
    }

    fn member(&mut self, name: &str) {
        self.json.push(',');
        push_string(&mut self.json, name);
        self.json.push(':');
    }
}

/// Appends `text` as a JSON string.
pub fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if u32::from(c) < 0x20 => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}
