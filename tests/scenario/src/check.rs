//! Compares what was seen with what was expected: the one checker of all engines.

use std::collections::BTreeMap;

use crate::bytes::show;
use crate::engine::{Metric, Observed, Seen};
use crate::matcher::Matcher;
use crate::model::{Expect, ExpectRateLimit, ExpectUpstream, Lines};

/// The problems of one exchange (everything but metrics and logs); empty = as expected.
#[must_use]
pub fn exchange(expect: &Expect, seen: &Observed) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |place: String, result: Result<(), String>| {
        if let Err(problem) = result {
            problems.push(format!("{place}: {problem}"));
        }
    };
    let reply = &seen.reply;
    if let Some(status) = expect.status.filter(|&status| status != reply.status) {
        note(
            "status".to_owned(),
            Err(format!(
                "expected {status}, was {} with body {}",
                reply.status,
                show(&reply.body)
            )),
        );
    }
    match (expect.cut.is_some(), reply.complete) {
        (false, false) if reply.status != 0 => note(
            "cut".to_owned(),
            Err("the reply was cut before its end".to_owned()),
        ),
        (true, true) => note(
            "cut".to_owned(),
            Err("expected a reply that is cut, came to its end".to_owned()),
        ),
        _ => {}
    }
    lines("headers", &expect.headers, &reply.headers, &mut note);
    lines("trailers", &expect.trailers, &reply.trailers, &mut note);
    if let Some(body) = &expect.body {
        note("body".to_owned(), body.check(&reply.body));
    }
    if let Some(details) = &expect.details {
        let values: Vec<&[u8]> = seen.details.iter().map(Vec::as_slice).collect();
        note("details".to_owned(), details.check(&values));
    }
    for (key, matcher) in &expect.state {
        let values: Vec<&[u8]> = seen
            .state
            .get(key)
            .iter()
            .map(|value| value.as_slice())
            .collect();
        note(format!("state.{key}"), matcher.check(&values));
    }
    if let Some(calls) = expect.calls.filter(|&calls| calls != seen.calls) {
        note(
            "calls".to_owned(),
            Err(format!("expected {calls}, were {}", seen.calls)),
        );
    }
    if let Some(wanted) = &expect.ratelimit {
        problems.extend(ratelimit(wanted, seen));
    }
    if let Some(wanted) = &expect.upstream {
        problems.extend(upstream(wanted, seen));
    }
    problems
}

fn ratelimit(wanted: &ExpectRateLimit, seen: &Observed) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(asks) = wanted.asks.filter(|&asks| asks != seen.ratelimit.len()) {
        problems.push(format!(
            "ratelimit.asks: expected {asks}, were {}: {:?}",
            seen.ratelimit.len(),
            seen.ratelimit
        ));
    }
    let last = seen.ratelimit.last();
    if let Some(hits) = wanted
        .hits
        .filter(|&hits| last.map(|ask| ask.hits) != Some(hits))
    {
        problems.push(format!(
            "ratelimit.hits: expected {hits}, was {:?}",
            last.map(|ask| ask.hits)
        ));
    }
    let entries = |entries: &[(String, String)]| {
        entries
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let texts = [
        ("domain", &wanted.domain, last.map(|ask| ask.domain.clone())),
        (
            "entries",
            &wanted.entries,
            last.map(|ask| entries(&ask.entries)),
        ),
    ];
    for (place, matcher, text) in texts {
        let values: Vec<&[u8]> = text.iter().map(String::as_bytes).collect();
        if let Some(Err(problem)) = matcher
            .as_ref()
            .map(|matcher: &Matcher| matcher.check(&values))
        {
            problems.push(format!("ratelimit.{place}: {problem}"));
        }
    }
    problems
}

fn upstream(wanted: &ExpectUpstream, seen: &Observed) -> Vec<String> {
    let describe = |request: &Seen| {
        format!(
            "{} {} at {}",
            show(&request.method),
            show(&request.path),
            request.name
        )
    };
    if wanted.reached == Some(false) {
        if let Some(request) = seen.upstream.first() {
            return vec![format!(
                "upstream.reached: expected false, but it saw {}",
                describe(request)
            )];
        }
        if seen.upstream_bytes > 0 {
            return vec![format!(
                "upstream.reached: expected false, but it got {} bytes",
                seen.upstream_bytes
            )];
        }
        return Vec::new();
    }
    let [request] = seen.upstream.as_slice() else {
        let all: Vec<String> = seen.upstream.iter().map(describe).collect();
        let reply = format!(
            "the reply is {} {}",
            seen.reply.status,
            show(&seen.reply.body)
        );
        return vec![format!(
            "upstream: expected one request, were {}: {all:?}; {reply}",
            all.len()
        )];
    };
    let mut problems = Vec::new();
    let mut note = |place: String, result: Result<(), String>| {
        if let Err(problem) = result {
            problems.push(format!("upstream.{place}: {problem}"));
        }
    };
    if let Some(name) = wanted.name.as_ref().filter(|&name| *name != request.name) {
        note(
            "name".to_owned(),
            Err(format!("expected {name}, was {}", request.name)),
        );
    }
    for (place, matcher, value) in [
        ("method", &wanted.method, &request.method),
        ("path", &wanted.path, &request.path),
    ] {
        if let Some(matcher) = matcher {
            note(place.to_owned(), matcher.check(&[value]));
        }
    }
    lines("headers", &wanted.headers, &request.headers, &mut note);
    lines("trailers", &wanted.trailers, &request.trailers, &mut note);
    if let Some(body) = &wanted.body {
        note("body".to_owned(), body.check(&request.body));
    }
    problems
}

/// The problems of counters (by their increase) and gauges.
#[must_use]
pub fn metrics(expect: &Expect, before: &[Metric], after: &[Metric]) -> Vec<String> {
    let mut problems = Vec::new();
    let wanted = expect.metrics.iter().map(|(key, value)| (key, value, true));
    for (key, wanted, increase) in
        wanted.chain(expect.gauges.iter().map(|(key, value)| (key, value, false)))
    {
        let (name, labels) = match parse(key) {
            Ok(parsed) => parsed,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let sum = |metrics: &[Metric]| -> i64 {
            let fits = |metric: &&Metric| {
                metric.name == name && labels.iter().all(|(k, v)| metric.labels.get(k) == Some(v))
            };
            metrics.iter().filter(fits).map(|metric| metric.value).sum()
        };
        let had = sum(after) - if increase { sum(before) } else { 0 };
        if had != *wanted {
            let (what, place) = if increase {
                ("an increase of", "metrics")
            } else {
                ("", "gauges")
            };
            problems.push(format!(
                "{place}.{key}: expected {what} {wanted}, was {had}; there are: {}",
                series(after, &name)
            ));
        }
    }
    problems
}

/// The series of one metric for a message, or all names if there is none.
fn series(metrics: &[Metric], name: &str) -> String {
    let mut found: Vec<String> = metrics
        .iter()
        .filter(|metric| metric.name == name)
        .map(|metric| format!("{}{:?} {}", metric.name, metric.labels, metric.value))
        .collect();
    if found.is_empty() {
        found = metrics.iter().map(|metric| metric.name.clone()).collect();
        found.sort();
        found.dedup();
    }
    found.join(", ")
}

/// `name{label=value,...}`
fn parse(key: &str) -> Result<(String, BTreeMap<String, String>), String> {
    let Some((name, rest)) = key.split_once('{') else {
        return Ok((key.to_owned(), BTreeMap::new()));
    };
    let inner = rest
        .strip_suffix('}')
        .ok_or_else(|| format!("metrics.{key}: no closing brace"))?;
    let pair = |item: &str| {
        let (label, value) = item
            .split_once('=')
            .ok_or_else(|| format!("metrics.{key}: a label is name=value"))?;
        Ok((
            label.trim().to_owned(),
            value.trim().trim_matches('"').to_owned(),
        ))
    };
    let labels: Result<_, String> = inner
        .split(',')
        .filter(|item| !item.trim().is_empty())
        .map(pair)
        .collect();
    Ok((name.to_owned(), labels?))
}

/// Each matcher with all lines of its name.
fn lines(
    place: &str,
    wanted: &BTreeMap<String, Matcher>,
    seen: &Lines,
    note: &mut impl FnMut(String, Result<(), String>),
) {
    for (name, matcher) in wanted {
        note(
            format!("{place}.{name}"),
            matcher.check(&values(seen, name)),
        );
    }
}

fn values<'a>(lines: &'a Lines, name: &str) -> Vec<&'a [u8]> {
    lines
        .iter()
        .filter(|(n, _)| n == name.as_bytes())
        .map(|(_, value)| value.as_slice())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(yaml: &str) -> Expect {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    #[test]
    fn an_upstream_that_got_bytes_but_no_request_was_reached() {
        let wanted = expect("{upstream: {reached: false}}");
        let mut seen = Observed::default();
        assert_eq!(exchange(&wanted, &seen), Vec::<String>::new());
        seen.upstream_bytes = 1;
        assert_eq!(exchange(&wanted, &seen).len(), 1);
    }

    #[test]
    fn one_request_means_one() {
        let wanted = expect("{upstream: {path: /}}");
        let request = Seen {
            path: b"/".to_vec(),
            ..Seen::default()
        };
        let with = |upstream: Vec<Seen>| {
            exchange(
                &wanted,
                &Observed {
                    upstream,
                    ..Observed::default()
                },
            )
        };
        assert_eq!(with(vec![request.clone()]), Vec::<String>::new());
        assert_eq!(with(vec![]).len(), 1);
        assert_eq!(with(vec![request.clone(), request]).len(), 1);
    }

    #[test]
    fn metrics_are_increases_and_sums() {
        let metric = |reason: &str, value| Metric {
            name: "d_total".to_owned(),
            labels: [
                ("policy".to_owned(), "x".to_owned()),
                ("reason".to_owned(), reason.to_owned()),
            ]
            .into(),
            value,
        };
        let before = [metric("a", 5)];
        let after = [metric("a", 6), metric("b", 2)];
        let problems = |yaml: &str| metrics(&expect(yaml), &before, &after);
        assert_eq!(
            problems(
                "{metrics: {'d_total{policy=x,reason=a}': 1, 'd_total{policy=x}': 3, d_total: 3, other: 0}}"
            ),
            Vec::<String>::new()
        );
        assert_eq!(problems("{metrics: {'d_total{reason=a}': 6}}").len(), 1);
        assert_eq!(
            problems("{gauges: {'d_total{reason=a}': 6}}"),
            Vec::<String>::new()
        );
    }
}
