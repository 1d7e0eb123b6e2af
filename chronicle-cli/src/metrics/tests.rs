use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::*;

const DASHBOARD: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/chronicle-dashboard.json");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/counters.md");

/// Name, kind and help of every metric.
fn all() -> Vec<(&'static str, bool, &'static str)> {
    fn of<T>(metrics: &[Metric<T>]) -> impl Iterator<Item = (&'static str, bool, &'static str)> {
        metrics.iter().map(|metric| (metric.name, metric.is_counter, metric.help))
    }
    of(BUS).chain(of(&[FAULTS])).chain(of(WRITERS)).chain(of(READERS)).collect()
}

/// The names by which they are asked for.
fn names() -> BTreeSet<String> {
    let suffix = |is_counter| if is_counter { "_total" } else { "" };
    all().into_iter().map(|(name, is_counter, _)| format!("{name}{}", suffix(is_counter))).collect()
}

/// The words of a text that are names of metrics.
fn asked_for(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("chronicle_"))
}

/// Every value under a key, however deep.
fn under<'j>(json: &'j Json, key: &str, found: &mut Vec<&'j str>) {
    match json {
        Json::Object(map) => {
            for (name, value) in map {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => under(value, key, found),
                }
            }
        }
        Json::Array(list) => list.iter().for_each(|value| under(value, key, found)),
        _ => {}
    }
}

/// <https://prometheus.io/docs/practices/naming/>
#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut seen = BTreeSet::new();
    for (name, is_counter, help) in all() {
        assert!(seen.insert(name), "{name} is there twice");
        assert!(name.starts_with("chronicle_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        // A counter gets the suffix when it is written.
        assert!(!name.ends_with("_total"), "{name}");
        assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
        for unit in ["milliseconds", "nanoseconds", "_ns", "_ms", "_kib", "_mb"] {
            assert!(!name.contains(unit), "{name} is not in a base unit");
        }
        if name.contains("timestamp") || name.ends_with("_time") {
            assert!(!is_counter, "{name}");
        }
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are_and_for_the_ones_that_matter() {
    let text = std::fs::read_to_string(DASHBOARD).unwrap();
    let dashboard: Json = serde_json::from_str(&text).unwrap();
    let (mut queries, names) = (Vec::new(), names());
    under(&dashboard, "expr", &mut queries);
    under(&dashboard, "query", &mut queries);
    let asked: BTreeSet<_> = queries.iter().flat_map(|query| asked_for(query)).collect();
    for name in &asked {
        assert!(names.contains(*name), "the dashboard asks for {name}, which there is not");
    }
    for name in [
        "chronicle_reader_lag_messages",
        "chronicle_reader_lag_seconds",
        "chronicle_writer_up",
        "chronicle_queue_last_message_timestamp_seconds",
        "chronicle_bus_free_bytes",
        "chronicle_queue_sync_errors_total",
        "chronicle_queue_waiting_for_room",
    ] {
        assert!(asked.contains(name), "nobody looks at {name}");
    }
    let mut titles = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        *titles.entry(panel["title"].as_str().unwrap()).or_insert(0) += 1;
    }
    assert!(titles.values().all(|count| *count == 1), "{titles:?}");
}

#[test]
fn the_page_lists_every_metric() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let section = page.split("\n## Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let listed: BTreeSet<String> =
        rows.iter().map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    assert_eq!(listed, names());
}
