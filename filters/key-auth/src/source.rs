//! Where a credential may stand: a header, a header behind a scheme, a query parameter, a cookie.

use crate::digest::Digest;
use crate::{cookie, query};
use std::borrow::Cow;
use std::rc::Rc;
use tollgate_core::config::{Section, Value};
use tollgate_core::headers::Duplicate;
use tollgate_core::{HeaderName, Headers};

/// One place.
pub(crate) enum Source {
    /// The whole value of a header.
    Header(HeaderName),
    /// What follows `Bearer`, `ApiKey` or the like in a header.
    Scheme(HeaderName, String),
    /// A query parameter.
    Query(String),
    /// A cookie, and the header named `cookie`.
    Cookie(String, HeaderName),
}

/// The places where a rule looks, in the order of the configuration.
pub(crate) struct Sources {
    all: Vec<Source>,
    /// All of it, where that is one whole header, as by default.
    header: Option<HeaderName>,
    queries: Vec<String>,
    path: HeaderName,
}

/// What a key must look like before it is worth a hash.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) max_bytes: usize,
    pub(crate) prefix: Option<Rc<str>>,
}

/// What a request brings. The key itself is hashed at once and not kept.
#[derive(Clone, Copy, Default)]
pub(crate) enum Presented {
    #[default]
    Nothing,
    Several,
    /// One credential, and it could be a key.
    Key(Digest),
    Empty,
    TooLong,
    WrongPrefix,
}

/// What a search found.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found {
    pub(crate) presented: Presented,
    /// A credential came by the Bearer scheme.
    pub(crate) by_bearer: bool,
}

#[derive(Default)]
struct Search<'r> {
    key: Option<Cow<'r, [u8]>>,
    count: usize,
    by_bearer: bool,
}

impl<'r> Search<'r> {
    fn found(&mut self, key: Cow<'r, [u8]>) {
        self.count = self.count.saturating_add(1);
        self.key = Some(key);
    }

    fn header(&mut self, request: &'r Headers, name: &HeaderName) {
        for line in request.get_all(name.as_str()) {
            self.found(Cow::Borrowed(trimmed(line)));
        }
    }

    #[inline(never)]
    fn scheme(&mut self, request: &'r Headers, name: &HeaderName, scheme: &str) {
        for line in request.get_all(name.as_str()) {
            let before = self.count;
            for key in schemed(line, scheme) {
                self.found(Cow::Borrowed(key));
                self.by_bearer |= scheme.eq_ignore_ascii_case("bearer");
            }
            // The proxy joins two lines by a comma, and no key that follows a scheme can hold one
            // (token68, RFC 9110, 11.2): a line that is a list has several credentials.
            if self.count > before && line.contains(&b',') {
                self.count = self.count.saturating_add(1);
            }
        }
    }

    #[inline(never)]
    fn query(&mut self, request: &'r Headers, name: &str) {
        let path = request.first(":path").unwrap_or_default();
        let at = path.iter().position(|b| *b == b'?');
        let after = at.and_then(|at| path.get(at..)?.strip_prefix(b"?"));
        for value in query::values(after.unwrap_or_default(), name) {
            self.found(value);
        }
    }

    #[inline(never)]
    fn cookie(&mut self, request: &'r Headers, name: &str, header: &HeaderName) {
        for line in request.get_all(header.as_str()) {
            for value in cookie::values(line, name) {
                self.found(Cow::Borrowed(value));
            }
        }
    }
}

impl Sources {
    /// Reads a list of sources; `None` if one of them is wrong.
    pub(crate) fn compile(value: Value<'_>) -> Option<Self> {
        let items = value.list()?;
        let written = items.len();
        let mut all: Vec<Source> = Vec::with_capacity(items.len());
        for item in items {
            let place = item.clone();
            if let Some(source) = item.section().and_then(source) {
                if all.iter().any(|other| other.overlaps(&source)) {
                    place.error("takes the same credential as a source before it");
                }
                all.push(source);
            }
        }
        // Not a part of what was meant.
        (all.len() == written).then(|| Self::new(all))
    }

    /// What is used when the configuration names none.
    pub(crate) fn default_ones() -> Self {
        Self::new(vec![Source::Header(HeaderName::from_static("x-api-key"))])
    }

    fn new(all: Vec<Source>) -> Self {
        let query = |source: &Source| match source {
            Source::Query(name) => Some(name.clone()),
            _ => None,
        };
        let header = match all.as_slice() {
            [Source::Header(name)] => Some(name.clone()),
            _ => None,
        };
        Self {
            header,
            queries: all.iter().filter_map(query).collect(),
            path: HeaderName::from_static(":path"),
            all,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.all.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a credential can stand in the query.
    pub(crate) fn use_query(&self) -> bool {
        !self.queries.is_empty()
    }

    /// Looks for credentials. Two are two, even if they are equal.
    pub(crate) fn search(&self, request: &Headers, shape: &Shape, found: &mut Found) {
        let Some(name) = &self.header else {
            return self.search_all(request, shape, found);
        };
        match request.sole(name.as_str()) {
            Ok(Some(line)) => shape.judge(trimmed(line), &mut found.presented),
            Ok(None) => {}
            Err(Duplicate) => found.presented = Presented::Several,
        }
    }

    #[inline(never)]
    fn search_all(&self, request: &Headers, shape: &Shape, found: &mut Found) {
        let mut search = Search::default();
        for source in &self.all {
            source.search(request, &mut search);
        }
        found.by_bearer = search.by_bearer;
        match (search.count, &search.key) {
            (0, _) | (_, None) => {}
            (1, Some(key)) => shape.judge(key, &mut found.presented),
            _ => found.presented = Presented::Several,
        }
    }

    /// Takes credentials out of headers and cookies.
    pub(crate) fn hide(&self, request: &mut Headers) {
        match &self.header {
            Some(name) => {
                request.remove(name);
            }
            None => self.hide_all(request),
        }
    }

    #[inline(never)]
    fn hide_all(&self, request: &mut Headers) {
        for source in &self.all {
            match source {
                Source::Header(name) => {
                    request.remove(name);
                }
                Source::Scheme(name, scheme) => hide_scheme(request, name, scheme),
                Source::Cookie(name, header) => cookie::remove(request, header, name),
                Source::Query(_) => {}
            }
        }
    }

    /// Takes credentials out of the query.
    #[inline(never)]
    pub(crate) fn hide_query(&self, request: &mut Headers) {
        if self.queries.is_empty() {
            return;
        }
        let path = request.first(":path").unwrap_or_default();
        if let Some(path) = query::path_without(path, &self.queries) {
            request.set(&self.path, path);
        }
    }
}

#[inline(never)]
fn hide_scheme(request: &mut Headers, name: &HeaderName, scheme: &str) {
    let parts = |line| schemed(line, scheme).next().is_some();
    if request.get_all(name.as_str()).any(parts) {
        request.remove(name);
    }
}

/// The line without white space around it, which hardly any has.
fn trimmed(line: &[u8]) -> &[u8] {
    match line {
        [first, .., last] if *first > b' ' && *last > b' ' => line,
        _ => line.trim_ascii(),
    }
}

impl Shape {
    /// Fills it in in place: a digest that is handed on is copied each time.
    fn judge(&self, key: &[u8], into: &mut Presented) {
        *into = if key.is_empty() {
            Presented::Empty
        } else if key.len() > self.max_bytes {
            Presented::TooLong
        } else if self.lacks_prefix(key) {
            Presented::WrongPrefix
        } else {
            Presented::Key(Digest::of(key))
        };
    }

    fn lacks_prefix(&self, key: &[u8]) -> bool {
        let prefix = self.prefix.as_ref();
        prefix.is_some_and(|p| !key.starts_with(p.as_bytes()))
    }
}

impl Source {
    fn search<'r>(&self, request: &'r Headers, search: &mut Search<'r>) {
        match self {
            Self::Header(name) => search.header(request, name),
            Self::Scheme(name, scheme) => search.scheme(request, name, scheme),
            Self::Query(name) => search.query(request, name),
            Self::Cookie(name, header) => search.cookie(request, name, header),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scheme(a, s), Self::Scheme(b, t)) => a == b && s.eq_ignore_ascii_case(t),
            (Self::Header(a) | Self::Scheme(a, _), Self::Header(b) | Self::Scheme(b, _)) => a == b,
            (Self::Query(a), Self::Query(b)) | (Self::Cookie(a, _), Self::Cookie(b, _)) => a == b,
            _ => false,
        }
    }

    /// The header it reads.
    pub(crate) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name) | Self::Scheme(name, _) | Self::Cookie(_, name) => Some(name),
            Self::Query(_) => None,
        }
    }
}

/// What follows the scheme in each element of a header line that has it.
fn schemed<'r>(line: &'r [u8], scheme: &str) -> impl Iterator<Item = &'r [u8]> {
    line.split(|b| *b == b',').filter_map(move |part| {
        let (word, rest) = part.trim_ascii().split_at_checked(scheme.len())?;
        let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
        (ends && word.eq_ignore_ascii_case(scheme.as_bytes())).then(|| rest.trim_ascii())
    })
}

fn source(section: Section<'_>) -> Option<Source> {
    let header = section.optional("header");
    let scheme = section.optional("scheme");
    let query = section.optional("query");
    let cookie = section.optional("cookie");
    let given = [&header, &query, &cookie];
    let source = if given.iter().filter(|v| v.is_some()).count() != 1 {
        section.error("needs exactly one of header, query, cookie");
        None
    } else if let Some(header) = header {
        let name = header.header_name();
        if name.as_ref().is_some_and(|n| n.as_str() == "cookie") {
            header.error("one cookie is a source of its own: write cookie: NAME");
        }
        match scheme {
            Some(scheme) => {
                let scheme = token(&scheme, "must be a scheme such as Bearer or ApiKey");
                name.zip(scheme).map(|(n, s)| Source::Scheme(n, s))
            }
            None => name.map(Source::Header),
        }
    } else {
        if let Some(scheme) = scheme {
            scheme.error("goes with header only");
        }
        let in_query = query.and_then(|v| {
            token(&v, "must be the name of a query parameter, decoded").map(Source::Query)
        });
        let in_cookie = cookie.and_then(|v| {
            let name = token(&v, "must be the name of a cookie")?;
            Some(Source::Cookie(name, HeaderName::from_static("cookie")))
        });
        in_query.or(in_cookie)
    };
    section.finish();
    source
}

/// A token (RFC 9110, 5.6.2): what a scheme and a cookie's name are, and all that a parameter's name needs.
fn token(value: &Value<'_>, problem: &str) -> Option<String> {
    let text = value.nonempty()?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let fits = text.len() <= 128 && text.bytes().all(good);
    value.accept(fits.then(|| text.to_owned()), problem)
}
