//! What is measured: counts and latencies of one window of time.
//!
//! A delivery counts when it comes within the window. A latency counts when what it belongs to was
//! *due* within the window, however late it comes: leaving out what comes after the end would leave
//! out the slowest.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What a histogram tells apart: values up to an hour, each to three digits.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// Latencies, all of them.
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        let Ok(histogram) = Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS) else {
            unreachable!("the bounds are constants that the histogram allows")
        };
        Latencies(histogram)
    }
}

impl Latencies {
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// The latency that so large a part of all does not exceed; nothing when there are none.
    pub fn quantile_ns(&self, part: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(part))
    }

    pub fn max_ns(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }

    pub fn add(&mut self, other: &Latencies) {
        for (value, count) in other.pairs() {
            self.0.saturating_record_n(value, count);
        }
    }

    fn pairs(&self) -> Vec<(u64, u64)> {
        let values = self.0.iter_recorded();
        values.map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
    }
}

impl Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Latencies, D::Error> {
        let mut latencies = Latencies::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latencies.0.saturating_record_n(value, count);
        }
        Ok(latencies)
    }
}

/// All that is counted in the window.
#[derive(Serialize, Deserialize)]
pub struct Measures {
    /// Since the start, for whoever watches.
    pub total: u64,
    /// Within the window.
    pub deliveries: u64,
    /// Of a whole: a publish at its last recipient, a round trip, a cycle, a reconnect.
    pub latency: Latencies,
    /// Of each delivery.
    pub delivery: Latencies,
    begin_ns: u64,
    end_ns: u64,
}

impl Default for Measures {
    fn default() -> Measures {
        Measures {
            total: 0,
            deliveries: 0,
            latency: Latencies::default(),
            delivery: Latencies::default(),
            begin_ns: u64::MAX,
            end_ns: u64::MAX,
        }
    }
}

impl Measures {
    pub fn begin(&mut self, begin_ns: u64) {
        self.begin_ns = begin_ns;
    }

    pub fn end(&mut self, end_ns: u64) {
        self.end_ns = end_ns;
    }

    fn is_inside(&self, time_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&time_ns)
    }

    /// Something came.
    pub fn came(&mut self, now_ns: u64) {
        self.total += 1;
        if self.is_inside(now_ns) {
            self.deliveries += 1;
        }
    }

    /// One of several deliveries came of what was due then.
    pub fn delivered(&mut self, due_ns: u64, now_ns: u64) {
        self.came(now_ns);
        if self.is_inside(due_ns) {
            self.delivery.record(now_ns.saturating_sub(due_ns));
        }
    }

    /// All of what was due then has come.
    pub fn completed(&mut self, due_ns: u64, now_ns: u64) {
        if self.is_inside(due_ns) {
            self.latency.record(now_ns.saturating_sub(due_ns));
        }
    }

    pub fn add(&mut self, other: &Measures) {
        self.total += other.total;
        self.deliveries += other.deliveries;
        self.latency.add(&other.latency);
        self.delivery.add(&other.delivery);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measures {
        let mut measures = Measures::default();
        measures.delivered(10, 90);
        measures.begin(100);
        measures.delivered(90, 110);
        measures.delivered(120, 150);
        measures.completed(120, 150);
        measures.end(200);
        measures.delivered(190, 250);
        measures.completed(190, 250);
        measures.delivered(210, 260);
        measures
    }

    #[test]
    fn deliveries_count_by_when_they_came_and_latencies_by_when_they_were_due() {
        let measures = measured();
        assert_eq!((measures.total, measures.deliveries), (5, 2));
        assert_eq!((measures.delivery.0.len(), measures.latency.0.len()), (2, 2));
        assert_eq!(measures.latency.max_ns(), Some(60), "it came after the end, and counts");
    }

    #[test]
    fn measures_of_several_processes_add_up() {
        let mut sum = measured();
        let json = serde_json::to_string(&measured()).unwrap();
        sum.add(&serde_json::from_str(&json).unwrap());
        assert_eq!((sum.total, sum.deliveries, sum.latency.0.len()), (10, 4, 4));
        assert_eq!(sum.latency.quantile_ns(0.5), Some(30));
    }

    #[test]
    fn quantiles_of_nothing_are_nothing() {
        assert_eq!(Latencies::default().quantile_ns(0.5), None);
        assert_eq!(Latencies::default().max_ns(), None);
    }

    #[test]
    fn a_latency_beyond_the_scale_is_kept_at_its_end() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        assert!(latencies.max_ns() >= Some(LATENCY_MAX_NS));
    }
}
