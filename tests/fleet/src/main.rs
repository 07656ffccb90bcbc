//! `tollgate-fleet-sim`: simulates fleets of 1 to 1,000 proxies on the lease code that the filters run, and writes the
//! table and the plots of docs/fleet.md.
//!
//! `tollgate-fleet-sim [--quick] [--write docs/fleet.md]`

mod load;
mod plot;
mod sim;

use load::{Arrivals, Shape};
use sim::{Outcome, Setup, Sim};
use std::fmt::Write;

fn setup(limit: u64, proxies: usize) -> Setup {
    Setup {
        proxies,
        limit,
        windows: 3,
        rtt: 5_000_000,
        restart: false,
        lose: None,
        skew: 0,
        seed: 1,
    }
}

fn run(setup: &Setup, shape: Shape, factor: f64) -> Outcome {
    let demand = setup.limit as f64 * factor;
    let arrivals = Arrivals::new(shape, setup.proxies, demand, setup.seed);
    Sim::run(setup.clone(), arrivals)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|a| a == "--quick");
    let mut cells = vec![
        (100_000, 1),
        (10_000, 10),
        (100_000, 10),
        (100_000, 100),
        (10_000, 100),
        (600, 100),
        (60, 100),
    ];
    if !quick {
        cells.extend([
            (1_000_000, 1),
            (1_000_000, 10),
            (1_000_000, 100),
            (1_000_000, 1_000),
            (100_000, 1_000),
        ]);
    }
    cells.sort_by_key(|(limit, proxies)| std::cmp::Reverse((limit / *proxies as u64, *limit)));
    let (text, points, excess) = table(&cells);
    print!("{text}");
    if let Some(at) = args.iter().position(|a| a == "--write") {
        let path = args.get(at + 1).map_or("docs/fleet.md", String::as_str);
        write_docs(path, &text);
        plot::write("docs/fleet-calls.svg", &points, plot::CALLS);
        plot::write("docs/fleet-under.svg", &points, plot::UNDER);
    }
    if excess > 0 {
        eprintln!("a window admitted {excess} hits too many");
        std::process::exit(1);
    }
}

type Points = Vec<plot::Point>;

fn table(cells: &[(u64, usize)]) -> (String, Points, u64) {
    let mut text = String::from(
        "| limit a minute / proxies | steady, demand 0.95 to 2: under %, calls | on/off, 1: under %, calls | on/off, 2 | spike | restart, 1 / 2: under % | waited %, p99 ms | counter lost after 19 / 30 s, demand 2: too many |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut points = Vec::new();
    let mut excess = 0;
    for &(limit, proxies) in cells {
        let base = setup(limit, proxies);
        let mut steady = (0.0_f64, f64::MAX, 0.0_f64);
        let (mut waited, mut p99) = (0.0_f64, 0.0_f64);
        for shape in [Shape::Uniform, Shape::Zipf, Shape::OneHot] {
            for factor in [0.95, 1.0, 2.0] {
                let mut one = run(&base, shape, factor);
                excess = excess.max(one.over(limit));
                steady.0 = steady.0.max(one.under(limit));
                steady.1 = steady.1.min(one.asks_per_1000());
                steady.2 = steady.2.max(one.asks_per_1000());
                waited = waited.max(one.waited_percent());
                p99 = p99.max(one.p99());
            }
        }
        let on_off = run(&base, Shape::OnOff, 1.0);
        let on_off_2 = run(&base, Shape::OnOff, 2.0);
        let spike = run(&base, Shape::Spike, 1.0);
        let restarting = Setup {
            restart: true,
            ..base.clone()
        };
        let restart = run(&restarting, Shape::Uniform, 1.0);
        let restart_2 = run(&restarting, Shape::Uniform, 2.0);
        for one in [&on_off, &on_off_2, &spike, &restart, &restart_2] {
            excess = excess.max(one.over(limit));
        }
        let lost = [19, 30].map(|second| {
            let losing = Setup {
                lose: Some(second),
                ..base.clone()
            };
            run(&losing, Shape::Uniform, 2.0).over(limit)
        });
        let _ = writeln!(
            text,
            "| {} / {} | {:.2}, {:.1} to {:.1} | {:.2}, {:.1} | {:.2}, {:.1} | {:.2}, {:.1} | {:.2} / {:.2} | {:.1}, {:.0} | {} / {} |",
            group(limit),
            proxies,
            steady.0,
            steady.1,
            steady.2,
            on_off.under(limit),
            on_off.asks_per_1000(),
            on_off_2.under(limit),
            on_off_2.asks_per_1000(),
            spike.under(limit),
            spike.asks_per_1000(),
            restart.under(limit),
            restart_2.under(limit),
            waited,
            p99,
            group(lost[0]),
            group(lost[1]),
        );
        points.push(plot::Point {
            hits: limit as f64 / proxies as f64,
            calls: [steady.1, steady.2, on_off.asks_per_1000()],
            under: [steady.0, on_off.under(limit), restart.under(limit)],
        });
        eprintln!("{limit} / {proxies}");
    }
    (text, points, excess)
}

fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Between the two marks.
fn write_docs(path: &str, table: &str) {
    let (begin, end) = ("<!-- simulation -->\n", "<!-- end of simulation -->");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Some((head, rest)) = text.split_once(begin) else {
        eprintln!("{path} has no mark {begin}");
        return;
    };
    let tail = rest.split_once(end).map_or("", |(_, tail)| tail);
    let _ = std::fs::write(path, format!("{head}{begin}{table}{end}{tail}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_admits_more_than_the_limit() {
        for (limit, proxies) in [(60, 20), (3_000, 3), (10_000, 30)] {
            for shape in [
                Shape::Uniform,
                Shape::Zipf,
                Shape::OneHot,
                Shape::OnOff,
                Shape::Spike,
            ] {
                for skew in [0, 500_000_000] {
                    let setup = Setup {
                        skew,
                        restart: skew > 0,
                        ..setup(limit, proxies)
                    };
                    assert_eq!(
                        run(&setup, shape, 2.0).over(limit),
                        0,
                        "{limit} {proxies} {shape:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn three_proxies_admit_all_but_a_hundredth_with_few_calls() {
        let setup = setup(30_000, 3);
        let one = run(&setup, Shape::Uniform, 3.0);
        assert!(one.under(30_000) <= 1.0, "{}", one.under(30_000));
        assert!(one.asks_per_1000() <= 10.0, "{}", one.asks_per_1000());
    }

    #[test]
    fn a_lost_counter_costs_little() {
        let setup = Setup {
            lose: Some(19),
            ..setup(100_000, 10)
        };
        let one = run(&setup, Shape::Uniform, 2.0);
        assert!(one.over(100_000) <= 1_000, "{}", one.over(100_000));
    }
}
