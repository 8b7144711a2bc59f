//! From numbers to text.

use std::fmt::{Display, Write};

use super::table::{METRICS, Metric, Source};
use super::{Histogram, Snapshot};

/// The numbers of one metric, of one shard or of the process, on their way into the text.
pub struct Series<'a> {
    out: &'a mut String,
    name: &'static str,
    shard: Option<usize>,
}

impl Series<'_> {
    /// The only number.
    pub fn value(&mut self, value: impl Display) {
        self.sample("", &[], None, value);
    }

    /// One of several, told apart by labels.
    pub fn labelled(&mut self, labels: &[(&'static str, &'static str)], value: impl Display) {
        self.sample("", labels, None, value);
    }

    /// How often something took how long.
    pub fn histogram(&mut self, histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            self.sample("_bucket", &[], Some(&bound), count);
        }
        self.sample("_bucket", &[], Some(&"+Inf"), histogram.count());
        self.sample("_sum", &[], None, seconds(histogram.sum_us()));
        self.sample("_count", &[], None, histogram.count());
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&'static str, &'static str)],
        bound: Option<&dyn Display>,
        value: impl Display,
    ) {
        // A `String` takes everything.
        let _ = self.write(suffix, labels, bound, value);
    }

    fn write(
        &mut self,
        suffix: &str,
        labels: &[(&'static str, &'static str)],
        bound: Option<&dyn Display>,
        value: impl Display,
    ) -> std::fmt::Result {
        write!(self.out, "{}{suffix}", self.name)?;
        let mut separator = '{';
        if let Some(shard) = self.shard {
            write!(self.out, "{separator}shard=\"{shard}\"")?;
            separator = ',';
        }
        for (label, text) in labels {
            write!(self.out, "{separator}{label}=\"{}\"", escaped(text))?;
            separator = ',';
        }
        if let Some(bound) = bound {
            write!(self.out, "{separator}le=\"{bound}\"")?;
            separator = ',';
        }
        let end = if separator == '{' { "" } else { "}" };
        writeln!(self.out, "{end} {value}")
    }
}

/// Microseconds as the base unit.
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The value of a label as it is written.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All numbers of a server.
pub fn exposition(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for metric in METRICS {
        let (name, kind) = (metric.name, metric.kind.name());
        let _ = write!(out, "# HELP {name} {}\n# TYPE {name} {kind}\n", metric.help);
        write_metric(&mut out, metric, snapshot);
    }
    out
}

fn write_metric(out: &mut String, metric: &Metric, snapshot: &Snapshot) {
    let name = metric.name;
    if let Source::Process(of) = metric.source {
        return of(&snapshot.process, &mut Series { out, name, shard: None });
    }
    for (index, observed) in snapshot.shards.iter().enumerate() {
        let mut series = Series { out, name, shard: Some(index) };
        match (metric.source, observed) {
            (Source::Presence, observed) => series.value(u8::from(observed.is_some())),
            (Source::Shard(of), Some(observed)) => of(observed, &mut series),
            (Source::Number(of), Some(observed)) => series.value(of(observed)),
            (Source::Micros(of), Some(observed)) => series.value(seconds(of(observed))),
            (Source::Process(_), _) | (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m71_a_label_cannot_end_its_line() {
        let mut out = String::new();
        let mut series = Series { out: &mut out, name: "a_total", shard: Some(1) };
        series.labelled(&[("reason", "a\\b\"} 7\nb_total 8")], 1);
        assert_eq!(out, "a_total{shard=\"1\",reason=\"a\\\\b\\\"} 7\\nb_total 8\"} 1\n");
    }

    #[test]
    fn a_number_without_labels_has_no_braces() {
        let mut out = String::new();
        Series { out: &mut out, name: "a", shard: None }.value(seconds(1_500_000));
        assert_eq!(out, "a 1.5\n");
    }
}
