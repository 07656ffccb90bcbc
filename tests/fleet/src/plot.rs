//! Two small plots as SVG: logarithmic in hits per proxy and window.

use std::fmt::Write;

pub struct Point {
    pub hits: f64,
    /// Calls per 1,000 requests: fewest and most under steady load, on/off.
    pub calls: [f64; 3],
    /// Percent not admitted in the worst window: steady, on/off, restart.
    pub under: [f64; 3],
}

pub struct Kind {
    title: &'static str,
    series: [&'static str; 3],
    value: fn(&Point) -> [f64; 3],
    /// Powers of ten from and to.
    y: (i32, i32),
}

pub const CALLS: Kind = Kind {
    title: "Calls per 1,000 requests, by hits per proxy and minute",
    series: ["steady, least", "steady, most", "on/off"],
    value: |p| p.calls,
    y: (-1, 3),
};

pub const UNDER: Kind = Kind {
    title: "Not admitted in the worst minute, percent, by hits per proxy and minute",
    series: ["steady", "on/off", "fleet restarted"],
    value: |p| p.under,
    y: (-2, 1),
};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const COLOURS: [&str; 3] = ["#1b6ca8", "#c0392b", "#2e8b57"];

fn x(hits: f64) -> f64 {
    60.0 + (hits.log10() + 1.0) / 7.0 * (WIDTH - 80.0)
}

fn y(value: f64, kind: &Kind) -> f64 {
    let (from, to) = kind.y;
    let at = (value.max(10_f64.powi(from)).log10() - f64::from(from)) / f64::from(to - from);
    HEIGHT - 40.0 - at * (HEIGHT - 80.0)
}

pub fn write(path: &str, points: &[Point], kind: Kind) {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"60\" y=\"18\" font-size=\"13\">{}</text>\n",
        kind.title
    );
    for power in 0..=6 {
        let at = x(10_f64.powi(power));
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.0} 40V{:.0}\" stroke=\"#ddd\"/><text x=\"{at:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 40.0,
            HEIGHT - 24.0,
            10_u64.pow(power as u32)
        );
    }
    for power in kind.y.0..=kind.y.1 {
        let at = y(10_f64.powi(power), &kind);
        let _ = writeln!(
            svg,
            "<path d=\"M60 {at:.0}H{:.0}\" stroke=\"#ddd\"/><text x=\"54\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            WIDTH - 20.0,
            at + 4.0,
            10_f64.powi(power)
        );
    }
    for (i, name) in kind.series.iter().enumerate() {
        let colour = COLOURS[i];
        for point in points {
            let value = (kind.value)(point)[i];
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                x(point.hits),
                y(value, &kind)
            );
        }
        let _ = writeln!(
            svg,
            "<circle cx=\"{}\" cy=\"32\" r=\"3.5\" fill=\"{colour}\"/><text x=\"{}\" y=\"36\">{name}</text>",
            70 + 150 * i,
            78 + 150 * i
        );
    }
    svg.push_str("</svg>\n");
    let _ = std::fs::write(path, svg);
}
