//! The closed set of metrics, registered while a configuration is compiled.
//!
//! Labels ride in the name in the form that Envoy's `stats_tags` *and* Istio's `extraStatTags` turn into
//! labels: `tollgate_decisions_totalconsumer=.=acme;.;reason=.=quota;.;`. A proxy never forgets a
//! metric, so label values come from configuration or from fixed lists, never from a request.

use std::collections::BTreeMap;

/// A registered metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(u32);

impl MetricId {
    /// Its place in [`Metrics::iter`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricKind {
    /// Only goes up.
    Counter,
    /// A current value.
    Gauge,
    /// A distribution of integers.
    Histogram,
}

/// One registered metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Its name without labels.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    stat: String,
}

impl Metric {
    /// The proxy's name of it; see the module.
    #[must_use]
    pub fn stat(&self) -> &str {
        &self.stat
    }
}

/// All metrics of one configuration.
#[derive(Debug, Default)]
pub struct Metrics {
    all: Vec<Metric>,
    /// By kind and the proxy's name: large key sets register thousands.
    known: BTreeMap<(MetricKind, String), MetricId>,
}

impl Metrics {
    /// Registers a counter, or returns the one of the same name and labels.
    pub fn counter(&mut self, name: &str, labels: &[(&str, &str)]) -> MetricId {
        self.register(MetricKind::Counter, name, labels)
    }

    /// Registers a gauge.
    pub fn gauge(&mut self, name: &str, labels: &[(&str, &str)]) -> MetricId {
        self.register(MetricKind::Gauge, name, labels)
    }

    /// Registers a histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)]) -> MetricId {
        self.register(MetricKind::Histogram, name, labels)
    }

    /// All of them; a [`MetricId`] is a position here.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.all.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn register(&mut self, kind: MetricKind, name: &str, labels: &[(&str, &str)]) -> MetricId {
        let stat = stat_name(name, labels);
        let next = MetricId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let id = *self.known.entry((kind, stat.clone())).or_insert(next);
        if id == next {
            self.all.push(Metric {
                kind,
                name: name.to_owned(),
                labels: labels
                    .iter()
                    .map(|(l, v)| ((*l).to_owned(), (*v).to_owned()))
                    .collect(),
                stat,
            });
        }
        id
    }
}

/// The proxy's name of a metric with labels; see the module.
#[must_use]
pub fn stat_name(name: &str, labels: &[(&str, &str)]) -> String {
    let mut stat = String::from(name);
    for (label, value) in labels {
        stat.push_str(label);
        stat.push_str("=.=");
        // Identifiers are validated, so this replaces nothing that came through configuration.
        stat.extend(value.chars().map(|c| if c == ';' { '_' } else { c }));
        stat.push_str(";.;");
    }
    stat
}
