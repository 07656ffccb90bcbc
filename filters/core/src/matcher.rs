//! Which requests a rule is about: host, path, method, header, route name. All parts must hold;
//! a matcher without parts holds always. Serves all five policies.

use crate::config::{Section, Value};
use crate::exchange::Exchange;
use crate::headers::HeaderName;
use crate::world::{Attribute, World};
use regex_lite::Regex;

/// A compiled `match`.
#[derive(Debug, Default)]
pub struct Matcher {
    hosts: Vec<HostPattern>,
    path: Option<PathPattern>,
    methods: Vec<Vec<u8>>,
    headers: Vec<HeaderPattern>,
    route: Option<Vec<u8>>,
    /// It asks for more than a path, as few do.
    more: bool,
}

#[derive(Debug)]
enum HostPattern {
    Exact(Vec<u8>),
    /// `*.example.com`, kept as `.example.com`.
    Suffix(Vec<u8>),
}

#[derive(Debug)]
enum PathPattern {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Template(Vec<Segment>),
    Regex(Regex),
}

#[derive(Debug, PartialEq)]
enum Segment {
    Literal(Vec<u8>),
    /// `{name}`: exactly one segment, not empty.
    Variable(String),
    /// `{name=**}` at the end: the rest, may be empty.
    Rest(String),
}

/// How a text (a header value, a group) is compared.
#[derive(Debug)]
pub enum TextPattern {
    /// Equal, byte by byte.
    Exact(Vec<u8>),
    /// Starts with.
    Prefix(Vec<u8>),
    /// Matches as a whole.
    Regex(Regex),
    /// Is there, whatever it says.
    Present,
}

#[derive(Debug)]
struct HeaderPattern {
    name: HeaderName,
    text: TextPattern,
}

impl Matcher {
    /// Reads `{path: {..}, methods: [..], hosts: [..], headers: [{name, exact}], route: ..}`.
    #[must_use]
    pub fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let mut matcher = Self {
            hosts: section
                .items("hosts")
                .iter()
                .filter_map(host_pattern)
                .collect(),
            path: section.optional("path").and_then(path_pattern),
            methods: section.items("methods").iter().filter_map(method).collect(),
            headers: section
                .items("headers")
                .into_iter()
                .filter_map(header_pattern)
                .collect(),
            route: section
                .optional("route")
                .and_then(|v| v.nonempty().map(|t| t.as_bytes().to_vec())),
            more: false,
        };
        matcher.more = !matcher.hosts.is_empty()
            || !matcher.methods.is_empty()
            || !matcher.headers.is_empty()
            || matcher.route.is_some();
        section.finish();
        Some(matcher)
    }

    /// Reads the `match` field of a rule; a missing one matches everything.
    #[must_use]
    pub fn of_rule(rule: &Section<'_>) -> Option<Self> {
        match rule.optional("match") {
            Some(value) => Self::compile(value),
            None => Some(Self::default()),
        }
    }

    /// Whether the rule is about this request.
    #[must_use]
    #[inline(never)]
    pub fn matches(&self, exchange: &Exchange, world: &dyn World) -> bool {
        let path = match &self.path {
            // No pattern has a `?`, so this need not look where the query begins.
            Some(PathPattern::Prefix(prefix)) => exchange.target().starts_with(prefix),
            Some(pattern) => pattern.matches(exchange),
            None => true,
        };
        path && (!self.more || self.rest_matches(exchange, world))
    }

    /// All but the path.
    #[inline(never)]
    fn rest_matches(&self, exchange: &Exchange, world: &dyn World) -> bool {
        self.hosts_match(exchange)
            && (self.methods.is_empty() || self.methods.iter().any(|m| m == exchange.method()))
            && self.headers.iter().all(|h| h.matches(exchange))
            && self
                .route
                .as_ref()
                .is_none_or(|route| is_route(route, world))
    }

    /// For rules that let more pass than the default does: like [`Matcher::matches`], but never for
    /// a path that an upstream may read as another one. `/health/../admin` starts with `/health/`.
    #[must_use]
    pub fn matches_safely(&self, exchange: &Exchange, world: &dyn World) -> bool {
        (self.path.is_none() || is_plain_path(exchange.path())) && self.matches(exchange, world)
    }

    /// The value of a template variable, e.g. `id` of `/api/sessions/{id}`.
    #[must_use]
    pub fn template_value<'a>(&self, name: &str, path: &'a [u8]) -> Option<&'a [u8]> {
        let Some(PathPattern::Template(segments)) = &self.path else {
            return None;
        };
        template_values(segments, path)?
            .into_iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v)
    }

    /// Whether the path is a template that has this variable.
    #[must_use]
    pub fn has_template_variable(&self, name: &str) -> bool {
        match &self.path {
            Some(PathPattern::Template(segments)) => segments
                .iter()
                .any(|s| matches!(s, Segment::Variable(n) | Segment::Rest(n) if n == name)),
            _ => false,
        }
    }

    fn hosts_match(&self, exchange: &Exchange) -> bool {
        self.hosts.is_empty() || self.names_host(exchange)
    }

    fn names_host(&self, exchange: &Exchange) -> bool {
        let host = without_port(exchange.authority()).to_ascii_lowercase();
        self.hosts.iter().any(|pattern| match pattern {
            HostPattern::Exact(exact) => *exact == host,
            HostPattern::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        })
    }
}

#[inline(never)]
fn is_route(route: &[u8], world: &dyn World) -> bool {
    world.attribute(Attribute::RouteName).as_deref() == Some(route)
}

/// Whether a path reads the same before and after what servers do to paths: no dot segments, no
/// empty segments, no backslash, no escaped `.`, `/`, `\` or NUL, no `;` parameters.
#[must_use]
pub fn is_plain_path(path: &[u8]) -> bool {
    if path.contains(&b'\\') || path.contains(&b';') {
        return false;
    }
    let escaped = path.windows(3).any(|w| {
        w.first() == Some(&b'%')
            && matches!(
                w.get(1..).map(<[u8]>::to_ascii_lowercase).as_deref(),
                Some(b"2e" | b"2f" | b"5c" | b"00" | b"25" | b"3b")
            )
    });
    let segments = path.strip_prefix(b"/").unwrap_or(path);
    let odd = segments
        .split(|b| *b == b'/')
        .rev()
        .skip(1)
        .any(|s| s.is_empty() || s == b"." || s == b"..");
    let last = segments.rsplit(|b| *b == b'/').next().unwrap_or_default();
    !escaped && !odd && last != b"." && last != b".."
}

impl PathPattern {
    #[inline(never)]
    fn matches(&self, exchange: &Exchange) -> bool {
        let path = exchange.path();
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Template(segments) => template_values(segments, path).is_some(),
            Self::Regex(regex) => is_match(regex, path),
        }
    }
}

/// What is not UTF-8 is not a text that anybody wrote a pattern for.
#[inline(never)]
fn is_match(regex: &Regex, text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| regex.is_match(text))
}

impl TextPattern {
    /// Reads the pattern out of a section that has one of `exact`, `prefix`, `regex`, `present`.
    #[must_use]
    pub fn compile(section: &Section<'_>) -> Option<Self> {
        let bytes = |v: Value<'_>| v.text().map(|t| t.as_bytes().to_vec());
        let exact = section.optional("exact");
        let prefix = section.optional("prefix");
        let regex = section.optional("regex");
        let present = section.optional("present");
        let given = [&exact, &prefix, &regex, &present]
            .iter()
            .filter(|v| v.is_some())
            .count();
        if given != 1 {
            section.error("needs exactly one of exact, prefix, regex, present");
            return None;
        }
        if let Some(v) = exact {
            return bytes(v).map(Self::Exact);
        }
        if let Some(v) = prefix {
            return bytes(v).map(Self::Prefix);
        }
        if let Some(v) = regex {
            return whole_regex(&v).map(Self::Regex);
        }
        let v = present?;
        let yes = v.boolean()?;
        v.accept(yes.then_some(Self::Present), "can only be true")
    }

    /// Whether the text is one of those meant.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Regex(regex) => is_match(regex, text),
            Self::Present => true,
        }
    }
}

impl HeaderPattern {
    /// A header sent several times matches when one of its values does.
    fn matches(&self, exchange: &Exchange) -> bool {
        exchange
            .request
            .get_all(self.name.as_str())
            .any(|v| self.text.matches(v))
    }
}

fn header_pattern(value: Value<'_>) -> Option<HeaderPattern> {
    let section = value.section()?;
    let name = section.required("name").and_then(|v| v.header_name());
    let text = TextPattern::compile(&section);
    section.finish();
    Some(HeaderPattern {
        name: name?,
        text: text?,
    })
}

fn host_pattern(value: &Value<'_>) -> Option<HostPattern> {
    let host = value.nonempty()?.to_ascii_lowercase();
    let suffix = host.strip_prefix('*');
    let rest = suffix.unwrap_or(&host);
    let good = !rest.contains(['*', '/', ' '])
        && (suffix.is_none() || (rest.starts_with('.') && rest.len() > 1));
    value.accept(
        good.then(|| match suffix {
            Some(suffix) => HostPattern::Suffix(suffix.as_bytes().to_vec()),
            None => HostPattern::Exact(host.as_bytes().to_vec()),
        }),
        "must be a host name such as api.example.com, or *.example.com for its subdomains",
    )
}

fn method(value: &Value<'_>) -> Option<Vec<u8>> {
    let text = value.nonempty()?;
    let good = text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    value.accept(
        good.then(|| text.as_bytes().to_vec()),
        "must be a method in capitals, such as GET",
    )
}

fn path_pattern(value: Value<'_>) -> Option<PathPattern> {
    let section = value.section()?;
    let given: Vec<(&str, Value<'_>)> = [
        ("exact", section.optional("exact")),
        ("prefix", section.optional("prefix")),
        ("template", section.optional("template")),
        ("regex", section.optional("regex")),
    ]
    .into_iter()
    .filter_map(|(kind, value)| value.map(|v| (kind, v)))
    .collect();
    let path = section.path().to_owned();
    let report = section.report();
    section.finish();
    let [(kind, value)] = given.as_slice() else {
        report.error(&path, "needs exactly one of exact, prefix, template, regex");
        return None;
    };
    if *kind == "regex" {
        return whole_regex(value).map(PathPattern::Regex);
    }
    let text = value.text()?;
    value.accept(
        text.starts_with('/').then_some(()),
        "must start with a slash",
    )?;
    value.accept(
        (!text.contains('?')).then_some(()),
        "must not have a query: only the path is compared",
    )?;
    match *kind {
        "exact" => Some(PathPattern::Exact(text.as_bytes().to_vec())),
        "prefix" => Some(PathPattern::Prefix(text.as_bytes().to_vec())),
        _ => template(text, value).map(PathPattern::Template),
    }
}

fn template(text: &str, value: &Value<'_>) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let parts: Vec<&str> = text.split('/').skip(1).collect();
    for (i, part) in parts.iter().enumerate() {
        let last = i.saturating_add(1) == parts.len();
        let name = part.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
        let segment = match name {
            Some(name) => match name.strip_suffix("=**") {
                Some(name) if last && !name.is_empty() => Some(Segment::Rest(name.to_owned())),
                Some(_) => None,
                None => (!name.is_empty() && !name.contains(['{', '}', '=', '*']))
                    .then(|| Segment::Variable(name.to_owned())),
            },
            None => (!part.contains(['{', '}', '*']))
                .then(|| Segment::Literal(part.as_bytes().to_vec())),
        };
        segments.push(value.accept(
            segment,
            "must be a path whose segments are text or {name}; {name=**} may be the last one",
        )?);
    }
    Some(segments)
}

#[inline(never)]
fn template_values<'t, 'p>(
    segments: &'t [Segment],
    path: &'p [u8],
) -> Option<Vec<(&'t str, &'p [u8])>> {
    let mut rest = Some(path.strip_prefix(b"/")?);
    let mut values = Vec::new();
    for segment in segments {
        if let Segment::Rest(name) = segment {
            values.push((name.as_str(), rest.unwrap_or_default()));
            return Some(values);
        }
        let here = rest?;
        let mut halves = here.splitn(2, |b| *b == b'/');
        let part = halves.next().unwrap_or_default();
        rest = halves.next();
        match segment {
            Segment::Literal(literal) if part == literal => {}
            Segment::Variable(name) if !part.is_empty() => values.push((name.as_str(), part)),
            _ => return None,
        }
    }
    rest.is_none().then_some(values)
}

/// A regex that must match the whole text, as Envoy's own `safe_regex` does.
fn whole_regex(value: &Value<'_>) -> Option<Regex> {
    let text = value.nonempty()?;
    value.accept(
        Regex::new(&format!("^(?:{text})$")).ok(),
        "must be a regular expression (RE2 syntax without Unicode classes)",
    )
}

/// The host of an authority: what stands before `:port`, if there is one.
#[must_use]
pub fn without_port(authority: &[u8]) -> &[u8] {
    // `[::1]:80`, `host:80`, `host`
    let digits = authority
        .iter()
        .rev()
        .take_while(|b| b.is_ascii_digit())
        .count();
    let at = authority.len().saturating_sub(digits);
    match authority.get(..at).and_then(|head| head.strip_suffix(b":")) {
        Some(host) if digits > 0 => host,
        _ => authority,
    }
}
