//! Where a key set comes from: the section `remote_keys`.

use crate::digest::Digest;
use tollgate_core::Duration;
use tollgate_core::config::{Compile, Section, Value};
use tollgate_core::world::Call;

const POLL_INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Envoy buffers no longer answer (`http.async_response_buffer_limit`).
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// See the module.
pub(crate) struct Source {
    pub(crate) cluster: String,
    path: String,
    authority: String,
    /// Further headers; values may be secrets.
    headers: Vec<(String, Vec<u8>)>,
    pub(crate) poll_interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_bytes: u64,
    /// What the set's bytes must hash to.
    pub(crate) pin: Option<Digest>,
    /// Tells sources apart; nothing else.
    pub(crate) fingerprint: u64,
}

impl Source {
    /// Reads `remote_keys`; `None` if it is wrong.
    pub(crate) fn compile(section: Section<'_>, cx: &Compile<'_>) -> Option<Self> {
        let cluster = section.required("cluster").and_then(|v| {
            let name = v.nonempty()?;
            let fits = name.len() <= 256 && !name.chars().any(char::is_control);
            v.accept(
                fits.then(|| name.to_owned()),
                "must be the name of a cluster",
            )
        });
        let path = section.required("path").and_then(|v| {
            let path = v.nonempty()?;
            let fits = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
            v.accept(
                fits.then(|| path.to_owned()),
                "must be a path that begins with /, escaped",
            )
        });
        let authority = match section.optional("authority") {
            Some(v) => v.nonempty().and_then(|name| {
                let fits = name.bytes().all(|b| b.is_ascii_graphic());
                v.accept(
                    fits.then(|| name.to_owned()),
                    "must be a host, with a port or without",
                )
            }),
            None => cluster.clone(),
        };
        let mut headers = Vec::new();
        for item in section.items("headers") {
            headers.extend(item.section().and_then(|s| header(s, cx)));
        }
        let poll_interval = span(&section, "poll_interval", POLL_INTERVAL, 1, 86_400);
        let timeout = span(&section, "timeout", TIMEOUT, 0, 60);
        let max_bytes = section
            .optional("max_bytes")
            .and_then(|v| v.integer(1024..=MOST_BYTES))
            .unwrap_or(MAX_BYTES);
        let pin = section.optional("sha256").and_then(|v| {
            v.accept(
                Digest::parse(v.nonempty()?),
                "must be the SHA-256 of the whole set: 64 hex digits, or base64 of 32 bytes",
            )
        });
        section.finish();
        let mut source = Self {
            cluster: cluster?,
            path: path?,
            authority: authority?,
            headers,
            poll_interval,
            timeout,
            max_bytes,
            pin,
            fingerprint: 0,
        };
        source.fingerprint = source.hash();
        Some(source)
    }

    /// The request. `etag` is that of the set that is there already.
    pub(crate) fn call(&self, etag: &[u8]) -> Call {
        let mut headers = vec![
            (":method".to_owned(), b"GET".to_vec()),
            (":path".to_owned(), self.path.clone().into_bytes()),
            (":authority".to_owned(), self.authority.clone().into_bytes()),
            ("user-agent".to_owned(), b"tollgate".to_vec()),
        ];
        if !etag.is_empty() {
            headers.push(("if-none-match".to_owned(), etag.to_vec()));
        }
        headers.extend(self.headers.iter().cloned());
        Call::Http {
            cluster: self.cluster.clone(),
            headers,
            body: Vec::new(),
            timeout_ms: u32::try_from(self.timeout.millis_ceil()).unwrap_or(u32::MAX),
        }
    }

    fn hash(&self) -> u64 {
        let mut text = Vec::new();
        for part in [&self.cluster, &self.authority, &self.path] {
            text.extend_from_slice(part.as_bytes());
            text.push(0);
        }
        if let Some(pin) = &self.pin {
            text.extend_from_slice(pin.bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = *Digest::of(&text).bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

fn span(
    section: &Section<'_>,
    field: &'static str,
    otherwise: Duration,
    least: u64,
    most: u64,
) -> Duration {
    let Some(value) = section.optional(field) else {
        return otherwise;
    };
    let span = value.duration().and_then(|span| {
        let fits = span > Duration(0)
            && span >= Duration::from_secs(least)
            && span <= Duration::from_secs(most);
        value.accept(
            fits.then_some(span),
            if least == 0 {
                "must be more than nothing and at most 60s"
            } else {
                "must be from 1s to 24h"
            },
        )
    });
    span.unwrap_or(otherwise)
}

/// `{name: authorization, env: KEYS_TOKEN}` or `{name: accept, value: text/plain}`.
fn header(section: Section<'_>, cx: &Compile<'_>) -> Option<(String, Vec<u8>)> {
    let name = section.required("name").and_then(|v| v.header_name());
    let plain = |v: &Value<'_>, text: &str| {
        let fits = !text.bytes().any(|b| b < b' ' || b == 0x7f);
        v.accept(
            fits.then(|| text.as_bytes().to_vec()),
            "must be a header value of one line",
        )
    };
    let value = match (section.optional("value"), section.optional("env")) {
        (Some(v), None) => v.nonempty().and_then(|text| plain(&v, text)),
        (None, Some(v)) => v.nonempty().and_then(|variable| {
            let text = v.accept(
                (cx.env)(variable).filter(|text| !text.is_empty()),
                "names a variable that the VM does not have, or that is empty: list it in host_env_keys of the filter's \
                 vm_config.environment_variables, or in vmConfig.env with valueFrom: HOST, and set it for the proxy",
            )?;
            plain(&v, &text)
        }),
        _ => {
            section.error("needs exactly one of value and env (the variable that holds the value)");
            None
        }
    };
    section.finish();
    Some((name?.as_str().to_owned(), value?))
}
