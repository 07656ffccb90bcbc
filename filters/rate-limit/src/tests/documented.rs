//! The page says what the code does.

use super::*;
use crate::answer;
use tollgate_core::time::SECOND;
use tollgate_state::gcra::{Bucket, Tat, Verdict};

const PAGE: &str = include_str!("../../../../docs/rate-limit.md");
const FLEET: &str = include_str!("../../../../docs/fleet.md");
const PROBLEMS: &str = include_str!("../../../../docs/problems.md");
const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");

#[test]
fn every_metric_and_reason_is_documented() {
    let json = r#"{"fleet": {"cluster": "c", "key": {"env": "FLEET_KEY"}, "mode": "classic"}, "limits": [
        {"name": "a", "scope": "global", "descriptor": "a", "key": ["host"], "rules": [{"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1s"}]}]}]}"#;
    let (_, metrics, report) = try_compile(json);
    assert_eq!(report.errors(), []);
    assert!(metrics.len() > 20);
    for metric in metrics.iter() {
        for page in [PAGE, CONFIGURATION] {
            assert!(
                page.contains(&format!("`{}`", metric.name)),
                "{}",
                metric.name
            );
        }
        for (label, value) in &metric.labels {
            let known = [PAGE, FLEET]
                .iter()
                .any(|p| p.contains(&format!("`{value}`")));
            assert!(known || label == "rule" || label == "policy", "{value}");
        }
    }
}

#[test]
fn every_answer_is_documented() {
    let answers = [
        answer::limited(429, &[], 1),
        answer::contended(),
        answer::service_failed(),
        answer::ambiguous_key(),
    ];
    for reply in answers {
        let body = String::from_utf8(reply.body).unwrap();
        let kind = body.split('"').nth(3).unwrap();
        let kind = kind.strip_prefix("urn:tollgate:problem:").unwrap_or(kind);
        for page in [PAGE, PROBLEMS] {
            assert!(page.contains(&format!("`{kind}`")), "{kind}");
            assert!(
                page.contains(&format!("`{}`", reply.details)),
                "{}",
                reply.details
            );
        }
    }
}

/// How many requests pass from the first one on and before `until`, by a client that asks whenever a token is there.
#[allow(clippy::arithmetic_side_effects)]
fn admitted(buckets: &[Bucket], until: u64) -> u64 {
    let start = 1_795_000_000 * SECOND;
    let mut now = start;
    let mut tats = vec![Tat::default(); buckets.len()];
    let mut n = 0;
    loop {
        let verdicts = buckets
            .iter()
            .zip(&tats)
            .map(|(b, t)| b.take(*t, now, b.span(1)));
        let verdicts: Vec<Verdict> = verdicts.collect();
        let wait = verdicts.iter().map(|v| match v {
            Verdict::Refused { wait, .. } => *wait,
            Verdict::Taken { .. } => 0,
        });
        match wait.max().unwrap() {
            0 => {
                n += 1;
                for (tat, verdict) in tats.iter_mut().zip(verdicts) {
                    if let Verdict::Taken { tat: new } = verdict {
                        *tat = new;
                    }
                }
            }
            wait => now += wait,
        }
        if now >= start + until {
            return n;
        }
    }
}

#[test]
fn other_limiters_figures_are_as_the_page_says() {
    let mut rows = 0;
    for line in PAGE.lines() {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        if columns.len() != 8 || !columns[2].starts_with("`{") {
            continue;
        }
        rows += 1;
        let buckets: Vec<Bucket> = columns[2]
            .split('`')
            .filter_map(|t| t.strip_prefix('{')?.strip_suffix('}'))
            .map(|figures| {
                let figures: Vec<&str> = figures.split(", ").collect();
                let interval = Duration::parse(figures[2]).unwrap();
                Bucket::new(
                    figures[0].parse().unwrap(),
                    figures[1].parse().unwrap(),
                    interval.0,
                )
                .unwrap()
            })
            .collect();
        for (column, until) in [(3, 1), (4, SECOND), (5, 60 * SECOND), (6, 3600 * SECOND)] {
            assert_eq!(
                admitted(&buckets, until).to_string(),
                columns[column],
                "{line}"
            );
        }
    }
    assert_eq!(rows, 6);
}
