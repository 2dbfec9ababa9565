use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::PathBuf,
    time::Duration,
};

use metrics::counter;

use super::*;
use crate::{
    model::{Outcome, SessionState},
    telemetry::events as event,
};

/// Every event once, and what a scrape shows then.
fn scrape_after_all_events() -> String {
    let recorder = recorder();
    let handle = recorder.handle();
    describe(&recorder);
    with_local_recorder(&recorder, || {
        let time = Duration::from_millis(30);
        event::attempt(Outcome::Http5xx, time);
        event::end_to_end(time);
        event::retry_bytes(4096);
        event::chat_queue_bytes(4096);
        event::spared();
        event::http_connection_closed("oldest");
        event::wrong_token(true);
        event::partitions_owned(8);
        event::parked("rate");
        event::brought_forward();
        event::places(1);
        event::taken_up_bytes(1024.0);
        event::over_share("places");
        event::held();
        event::dead_letter("gone");
        event::dead_letter_cut("cut");
        event::quota_refused("waiting");
        event::clients_usage("waiting", 4096);
        event::clients_over_quota("waiting", 1);
        event::stream_bytes("WA_HOLD", 1, 2);
        event::abandoned("WA_MSG");
        event::lost_delivery("sent");
        event::job_events("replay", "sent", 3);
        event::jobs_running("replay", 1);
        event::message_published(true);
        event::inbound("published");
        event::session_state(None, Some(SessionState::Connected));
        event::session_silent("connection");
        event::unrouted();
        event::redelivered("message");
        event::results_recorded(3);
        event::inflight(5);
        event::inflight(-2);
        event::breaker("open");
        event::blocked("private");
        event::bus_connected(true);
        event::clock_offset(-0.5);
        event::bus_reconnected();
        event::store_request("record", true, time);
        event::cql_statement("events");
        event::cql_trouble("overloaded");
        event::cql_driver(&[("connections", 1)]);
        event::http_request("GET", "/api/webhooks/{webhook_id}", 200, time);
        event::http_request(event::http_method("MADE-UP"), "none", 404, time);
        event::task_ended("deliver", "ok");
        event::error("bus", "publish");
    });
    handle.render()
}

#[test]
fn every_metric_is_described_and_counted_with_the_labels_of_the_table() {
    let text = scrape_after_all_events();
    for metric in names::ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let name = metric.name;
        assert!(
            text.contains(&format!("# HELP {name} {}\n", metric.help)),
            "{name} is not described:\n{text}"
        );
        assert!(
            text.contains(&format!("# TYPE {name} {kind}\n")),
            "{name} is no {kind}:\n{text}"
        );
        let sample = text
            .lines()
            .find(|line| line.starts_with(name))
            .expect("each event was counted");
        let labels: Vec<_> = sample
            .split(['{', ',', '}'])
            .filter_map(|part| part.split_once("=\""))
            .collect();
        let labels: Vec<_> = labels
            .into_iter()
            .map(|(label, _)| label)
            .filter(|label| *label != "le")
            .collect();
        assert_eq!(labels, metric.labels, "{sample}");
    }
}

#[test]
fn values_are_what_happened() {
    let text = scrape_after_all_events();
    for line in [
        "wahook_delivery_inflight 3",
        "wahook_results_recorded_total 3",
        "wahook_bus_connected 1",
        "wahook_messages_published_total{duplicate=\"true\"} 1",
        "wahook_delivery_attempt_duration_seconds_bucket{outcome=\"http_5xx\",le=\"0.025\"} 0",
        "wahook_delivery_attempt_duration_seconds_bucket{outcome=\"http_5xx\",le=\"0.05\"} 1",
        "wahook_http_request_duration_seconds_count\
         {method=\"other\",route=\"none\",status=\"404\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no line {line} in:\n{text}"
        );
    }
}

#[test]
fn names_follow_the_rules() {
    let mut seen = BTreeMap::new();
    for metric in names::ALL {
        assert_eq!(
            seen.insert(metric.name, metric.kind),
            None,
            "{} stands twice",
            metric.name
        );
        assert!(metric.name.starts_with("wahook_"), "{}", metric.name);
        assert_eq!(
            metric.kind == Kind::Counter,
            metric.name.ends_with("_total"),
            "{}",
            metric.name
        );
        if let Kind::Histogram(buckets) = metric.kind {
            assert!(
                metric.name.ends_with("_seconds") && buckets.is_sorted(),
                "{}",
                metric.name
            );
        }
    }
}

#[test]
fn installing_twice_gives_the_same_metrics() {
    let one = Metrics::install();
    let two = Metrics::install();
    counter!("wahook_test_total").increment(1);
    assert!(one.render().contains("wahook_test_total 1"));
    assert!(two.render().contains("wahook_test_total 1"));
    assert!(two.render().contains("wahook_build_info{version="));
}

/// Where a section begins that was written by hand, or by another test.
const SECTION: &str = "\n## ";

/// The text of `docs/metrics.md` up to its first section. A test in `tasks` keeps the one on tasks.
fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n<!-- Generated from src/telemetry/names.rs: `UPDATE_DOCS=1 cargo test \
         --lib`. -->\n\n\
         At `/metrics` of the admin listener, in Prometheus' text format. No label holds a \
         client, a webhook, a message or\n\
         a phone number; the API has those figures. Series are there from the start, at zero, but \
         for those of\n\
         `wahook_http_request_duration_seconds`, `wahook_egress_blocked_total` and \
         `wahook_cql_…`: their labels come with the first use.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in names::ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels = metric.labels.join(", ");
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {labels} | {} |",
            metric.name, metric.help
        );
    }
    page
}

#[test]
fn the_page_on_metrics_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let committed = fs::read_to_string(path).unwrap_or_default();
    let sections = committed.find(SECTION).unwrap_or(committed.len());
    let (metrics, sections) = committed.split_at(sections);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, reference() + sections).expect("docs/ can be written");
        return;
    }
    let help = "docs/metrics.md is out of date: run `UPDATE_DOCS=1 cargo test --lib` and commit it";
    assert!(metrics == reference(), "{help}");
}

#[test]
fn every_metric_is_there_before_anything_happens() {
    let recorder = recorder();
    let handle = recorder.handle();
    describe(&recorder);
    with_local_recorder(&recorder, || {
        from_start::register();
        from_start::task_kind("recorder");
    });
    let text = handle.render();
    let absent: Vec<_> = names::ALL
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !text.lines().any(|line| line.starts_with(name)))
        .collect();
    let with_open_labels = [
        names::BLOCKED,
        names::CQL_STATEMENTS,
        names::CQL_TROUBLE,
        names::CQL_DRIVER,
        names::HTTP_DURATION,
    ];
    assert_eq!(absent, with_open_labels);
    let line = "wahook_errors_total{room=\"bus\",code=\"pull\"} 0";
    assert!(text.lines().any(|found| found == line), "{text}");
    let unheard = "wahook_delivery_end_to_end_seconds_count 0";
    assert!(text.lines().any(|found| found == unheard), "{text}");
}

/// The rooms and codes of all errors that a file counts.
fn errors_in(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("telemetry::error(").skip(1).filter_map(|call| {
        let (room, more) = call.trim_start().strip_prefix('"')?.split_once('"')?;
        let code = more
            .trim_start_matches([',', ' ', '\n'])
            .strip_prefix('"')?;
        Some((room, code.split_once('"')?.0))
    })
}

#[test]
fn every_error_of_the_code_is_there_from_the_start() {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("telemetry/tests.rs") {
                let text = fs::read_to_string(&path).expect("a text");
                let errors = errors_in(&text);
                found.extend(errors.map(|(room, code)| (room.to_owned(), code.to_owned())));
            }
        }
    }
    // Those have the codes of an enum.
    let listed = from_start::ERRORS
        .iter()
        .filter(|(room, _)| *room != "egress");
    let listed = listed.map(|(room, code)| ((*room).to_owned(), (*code).to_owned()));
    assert_eq!(found, listed.collect());
}
