use std::{collections::HashSet, fmt::Write, fs, path::Path};

use super::names::{ALL, Kind};

/// The text of `docs/metrics.md`.
fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n<!-- Generated from src/telemetry/names.rs: `UPDATE_DOCS=1 cargo test --lib`. -->\n\n\
         At `/metrics` of the admin listener, in Prometheus' text format. No label holds a client, a webhook, a message or\n\
         a phone number: what concerns one of those is in the API.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels = metric.labels.join(", ");
        let _ = writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
    }
    page
}

#[test]
fn the_page_of_metrics_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, page()).expect("writes");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == page(), "docs/metrics.md is not current: run `UPDATE_DOCS=1 cargo test --lib`");
}

#[test]
fn names_follow_the_custom() {
    let mut names = HashSet::new();
    for metric in ALL {
        assert!(names.insert(metric.name), "{} twice", metric.name);
        assert!(metric.name.starts_with("wahook_"));
        assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        assert_eq!(matches!(metric.kind, Kind::Histogram(_)), metric.name.ends_with("_seconds"), "{}", metric.name);
    }
}
