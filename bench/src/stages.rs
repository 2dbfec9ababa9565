//! Where the time of a delivery goes, as far as publisher, sink and wahook's own metrics can tell.

use std::fmt;

use serde::Serialize;

/// Means over a run, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Stages {
    /// From the planned time to the publish ack.
    publish: f64,
    /// From the publish ack until the request is at the endpoint.
    queue: f64,
    /// One request, from the look-up to the answer's end.
    post: f64,
    /// One batch of results in the store.
    record: f64,
    /// Results in a batch.
    batch: f64,
}

impl Stages {
    /// From two mean times in milliseconds, and two texts of metrics, before and after.
    pub(crate) fn between(publish_ms: f64, queue_ms: f64, before: &str, after: &str) -> Self {
        let more = |name: &str, label: &str| sum(after, name, label) - sum(before, name, label);
        let mean = |name: &str, label: &str| {
            1e3 * more(&format!("{name}_sum"), label)
                / more(&format!("{name}_count"), label).max(1.0)
        };
        let batches = more(
            "wahook_store_request_duration_seconds_count",
            "op=\"record\"",
        );
        Self {
            publish: publish_ms,
            queue: queue_ms,
            post: mean("wahook_delivery_attempt_duration_seconds", ""),
            record: mean("wahook_store_request_duration_seconds", "op=\"record\""),
            batch: more("wahook_results_recorded_total", "") / batches.max(1.0),
        }
    }
}

/// Of all samples of this name with this label.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let of_name = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && line.contains(label)
    };
    metrics
        .lines()
        .filter(of_name)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            publish,
            queue,
            post,
            record,
            batch,
        } = self;
        write!(
            f,
            "  stages, means        publish {publish:.2} ms, queue {queue:.2} ms, POST {post:.2} \
             ms, record {record:.2} ms per batch of {batch:.0}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_are_summed_over_their_labels() {
        let text = "# HELP a_sum x\na_sum{k=\"1\"} 2.5\na_sum{k=\"2\"} 1\na_sum 4\na_summary 100\n";
        assert_eq!(sum(text, "a_sum", ""), 7.5);
        assert_eq!(sum(text, "a_sum", "k=\"2\""), 1.0);
        assert_eq!(sum(text, "b", ""), 0.0);
    }
}
