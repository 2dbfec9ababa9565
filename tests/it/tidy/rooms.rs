//! Who uses whom, who alone names which dependency, how long files are.

use std::{fs, path::PathBuf};

use super::{code, files, product, root};

/// A room, the rooms it may use, the dependencies that it alone names.
const ROOMS: [(&str, &[&str], &[&str]); 15] = [
    ("model", &[], &[]),
    ("config", &["model"], &["toml"]),
    (
        "telemetry",
        &["model", "config"],
        &[
            "tracing_subscriber",
            "metrics",
            "metrics_exporter_prometheus",
        ],
    ),
    ("tasks", &["telemetry"], &[]),
    (
        "wire",
        &["model"],
        &["rmp_serde", "hmac", "chacha20poly1305"],
    ),
    ("policy", &["model"], &["httpdate"]),
    (
        "bus",
        &["model", "config", "telemetry", "tasks", "wire"],
        &["async_nats"],
    ),
    (
        "store",
        &["model", "config", "telemetry", "tasks"],
        &["rusqlite", "scylla"],
    ),
    (
        "ingest",
        &["model", "config", "telemetry", "tasks", "wire", "bus"],
        &["whatsapp_rust", "ureq"],
    ),
    (
        "egress",
        &["model", "config", "telemetry", "tasks", "policy"],
        &["h2", "http_body_util", "tokio_rustls", "webpki_roots"],
    ),
    (
        "deliver",
        &[
            "model",
            "config",
            "telemetry",
            "tasks",
            "wire",
            "policy",
            "bus",
            "egress",
        ],
        &[],
    ),
    (
        "record",
        &[
            "model",
            "config",
            "telemetry",
            "tasks",
            "wire",
            "bus",
            "store",
        ],
        &[],
    ),
    (
        "replay",
        &["model", "config", "telemetry", "tasks", "bus", "store"],
        &[],
    ),
    (
        "api",
        &[
            "model",
            "config",
            "telemetry",
            "tasks",
            "policy",
            "wire",
            "bus",
            "store",
            "replay",
        ],
        &["axum"],
    ),
    (
        "node",
        &[
            "model",
            "config",
            "telemetry",
            "tasks",
            "policy",
            "wire",
            "bus",
            "store",
            "ingest",
            "egress",
            "deliver",
            "record",
            "replay",
            "api",
        ],
        &["clap"],
    ),
];
const FILE_LINES_MAX: usize = 400;
const MAIN_LINES_MAX: usize = 100;
const STORY_LINES_MIN: usize = 5;

/// The rooms named behind `crate::`, grouped imports included.
fn rooms_used(text: &str) -> Vec<String> {
    let flat: String = code(text).collect::<Vec<_>>().join(" ");
    let mut used = Vec::new();
    for rest in flat.split("crate::").skip(1) {
        let mut depth = 0;
        let mut word = String::new();
        let mut path = 0;
        // `crate::{a::{b, c}, d}` names a and d; `crate::a::b` names a.
        for letter in rest.chars() {
            match letter {
                letter if letter.is_alphanumeric() || letter == '_' => word.push(letter),
                '{' => depth += 1,
                _ => {
                    if !word.is_empty() && path == 0 && depth <= 1 {
                        used.push(std::mem::take(&mut word));
                    }
                    word.clear();
                    match letter {
                        '}' => depth -= 1,
                        ':' => path = 1,
                        ',' if depth == 1 => path = 0,
                        _ => {}
                    }
                    if depth == 0 && letter != ' ' {
                        break;
                    }
                }
            }
        }
    }
    used
}

/// What one file of a room does that the table does not allow.
fn faults(name: &str, text: &str) -> Vec<String> {
    let room = name.split('/').nth(1).unwrap_or_default();
    let Some((_, may_use, _)) = ROOMS.iter().find(|(known, _, _)| *known == room) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for used in rooms_used(text) {
        let is_room = ROOMS.iter().any(|(known, _, _)| *known == used);
        if is_room && used != room && !may_use.contains(&used.as_str()) {
            faults.push(format!("{name} uses {used}"));
        }
    }
    for (owner, _, alone) in ROOMS {
        for dependency in alone.iter().filter(|_| owner != room) {
            let named = |line: &str| {
                let line = &without_texts(line);
                line.contains(&format!("{dependency}::"))
                    && !line.contains(&format!("crate::{dependency}"))
                    || line.contains(&format!("use {dependency};"))
            };
            if let Some(line) = code(text).find(|line| word_begins(line, dependency) && named(line))
            {
                faults.push(format!("{name} names {dependency}: {line}"));
            }
        }
    }
    if text.contains(".unwrap()") && !text.contains("#[cfg(test)]") {
        faults.push(format!("{name} unwraps"));
    }
    faults
}

/// A line without what stands between quotation marks.
fn without_texts(line: &str) -> String {
    line.split('"').step_by(2).collect()
}

/// Whether the word stands by itself somewhere in the line.
fn word_begins(line: &str, word: &str) -> bool {
    let part_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

#[test]
fn rooms_use_only_whom_they_may() {
    let all: Vec<_> = files("src")
        .iter()
        .flat_map(|(name, text)| faults(name, text))
        .collect();
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn the_checker_sees_what_it_should() {
    assert_eq!(
        rooms_used("use crate::{bus::{Bus, Work}, model::Phone};"),
        ["bus", "model"]
    );
    assert_eq!(rooms_used("    crate::store::Error"), ["store"]);
    assert_eq!(
        faults("src/model/x.rs", "use crate::bus::Bus;"),
        ["src/model/x.rs uses bus"]
    );
    assert_eq!(
        faults("src/deliver/x.rs", "use crate::{model::A, store::{B}};"),
        ["src/deliver/x.rs uses store"]
    );
    assert_eq!(
        faults("src/api/x.rs", "let x = async_nats::connect(1);").len(),
        1
    );
    assert_eq!(
        faults("src/api/x.rs", "x.unwrap()"),
        ["src/api/x.rs unwraps"]
    );
    assert!(faults("src/bus/x.rs", "use async_nats::Client; // crate::api").is_empty());
    assert!(faults("src/telemetry/x.rs", "warn!(target: \"scylla::x\", 1);").is_empty());
}

#[test]
fn files_stay_readable() {
    for (name, text) in files("src") {
        let product = product(&text).count();
        let max = if name == "src/main.rs" {
            MAIN_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        assert!(product <= max, "{name} has {product} lines");
    }
    for folder in ["tests", "bench/src", "benches", "fuzz/fuzz_targets"] {
        for (name, text) in files(folder) {
            let lines = text.lines().count();
            assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines");
        }
    }
}

#[test]
fn each_room_begins_with_its_story_and_stands_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map");
    let sources = files("src");
    for (room, _, _) in ROOMS {
        let text = &sources[&format!("src/{room}/mod.rs")];
        let story = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        assert!(
            story >= STORY_LINES_MIN,
            "src/{room}/mod.rs tells {story} lines"
        );
        assert!(
            map.contains(&format!("| `{room}` |")),
            "{room} is not on the map"
        );
    }
    assert!(map.lines().count() <= 150);
}

#[test]
fn tests_are_not_ignored_and_wait_on_conditions() {
    // Built from halves, so that this file does not find itself.
    let forbidden = [
        ["#[ign", "ore"].concat(),
        ["todo", "!("].concat(),
        ["thread::sl", "eep(Duration::from_secs"].concat(),
    ];
    for folder in ["src", "tests", "bench/src"] {
        for (name, text) in files(folder) {
            for word in &forbidden {
                assert!(!text.contains(word), "{name} has {word}");
            }
        }
    }
    // `eventually` waits on a condition, `stays` sees one hold, and `let_pass` says that a time is
    // what a test is about.
    for (name, text) in files("tests/it") {
        let sleeps = text.contains(&["sl", "eep("].concat());
        // Endpoints of the egress tests are slow on purpose.
        let may = ["support", "egress"]
            .iter()
            .any(|folder| name.starts_with(&format!("tests/it/{folder}/")));
        assert!(may || !sleeps, "{name} sleeps: wait on a condition");
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    let documents = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .map(PathBuf::from)
        .into_iter();
    let docs = fs::read_dir(root().join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("an entry").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut links = 0;
    for path in documents.map(|path| root().join(path)).chain(docs) {
        let text = fs::read_to_string(&path).expect("a document");
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            let file = path.parent().expect("a folder").join(target);
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
    assert!(links > 10, "only {links} links were found");
}
