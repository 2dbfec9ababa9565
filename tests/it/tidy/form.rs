//! The form of the sources: who starts tasks, how statements look, which words are not used.

use std::fs;

use super::{code, files, is_test_file, product, root};

/// Ways to start background work past `src/tasks`.
const BARE_SPAWNS: [&str; 6] = [
    "tokio::spawn(",
    "task::spawn(",
    "spawn_blocking(",
    "thread::spawn(",
    "thread::Builder::new(",
    "JoinSet::new().spawn(",
];

fn bare_spawns(text: &str) -> Vec<&str> {
    product(text)
        .filter(|line| !line.trim_start().starts_with("//"))
        .filter(|line| BARE_SPAWNS.iter().any(|spawn| line.contains(spawn)))
        .collect()
}

/// `let (a, b) = (x, y);`
fn tuple_lets(text: &str) -> Vec<&str> {
    let is_one = |line: &&str| {
        let rest = line.strip_prefix("let ").unwrap_or_default();
        let rest = rest.strip_prefix("mut ").unwrap_or(rest);
        rest.starts_with('(') && rest.contains(") = (")
    };
    code(text).filter(is_one).collect()
}

#[test]
fn background_work_starts_in_the_room_for_tasks_alone() {
    for (name, text) in files("src") {
        if name.starts_with("src/tasks/") || is_test_file(&name) {
            continue;
        }
        let found = bare_spawns(&text);
        assert!(found.is_empty(), "{name} starts tasks unseen: {found:#?}");
    }
    assert_eq!(bare_spawns("    tokio::spawn(async {});").len(), 1);
    assert_eq!(
        bare_spawns("#[cfg(test)]\ntokio::spawn(async {});").len(),
        0
    );
}

#[test]
fn each_statement_binds_one_thing() {
    for folder in ["src", "bench/src", "tests"] {
        for (name, text) in files(folder) {
            let found = tuple_lets(&text);
            assert!(found.is_empty(), "{name} binds two at once: {found:#?}");
        }
    }
    let example = ["let (a, b) ", "= (1, 2);"].concat();
    assert_eq!(tuple_lets(&example).len(), 1);
    assert_eq!(tuple_lets("let (a, b) = channel();").len(), 0);
}

/// Columns of a line at most; rustfmt does not break literals and macros.
const LINE_COLUMNS_MAX: usize = 100;

/// The number of each line that is too long, from 1.
fn long_lines(text: &str) -> Vec<usize> {
    let numbered = text.lines().zip(1..);
    let long = numbered.filter(|(line, _)| line.chars().count() > LINE_COLUMNS_MAX);
    long.map(|(_, number)| number).collect()
}

#[test]
fn lines_fit_the_width() {
    for folder in ["src", "bench/src", "benches", "fuzz/fuzz_targets", "tests"] {
        for (name, text) in files(folder) {
            let long = long_lines(&text);
            assert_eq!(long, [0; 0], "lines of {name} with more than 100 columns");
        }
    }
    let example = format!("{}\n{}\n", "ä".repeat(100), "ä".repeat(101));
    assert_eq!(long_lines(&example), [2]);
}

#[test]
fn pure_rooms_are_told_the_time() {
    let clocks = ["Instant::now()", "SystemTime::now()"];
    let reads_a_clock = |text: &str| clocks.iter().any(|clock| text.contains(clock));
    for folder in ["src/model", "src/policy"] {
        for (name, text) in files(folder) {
            let found: Vec<&str> = product(&text)
                .filter(|line| !line.trim_start().starts_with("//"))
                .filter(|line| reads_a_clock(line))
                .collect();
            assert!(found.is_empty(), "{name} reads a clock: {found:#?}");
        }
    }
    assert!(reads_a_clock("    let now = Instant::now();"));
}

/// Words that readers stumble over. Built from halves, so that this file does not find itself.
fn puzzling_word(text: &str) -> Option<&str> {
    let words = [["an", "ew"].concat(), ["who", "ever"].concat()];
    text.split(|letter: char| !letter.is_alphanumeric())
        .find(|word| words.iter().any(|puzzling| puzzling == word))
}

#[test]
fn texts_use_no_words_that_puzzle_readers() {
    let mut texts = files("src");
    texts.extend(files("tests"));
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "md") {
            let text = fs::read_to_string(&path).expect("a document");
            texts.insert(path.display().to_string(), text);
        }
    }
    for (name, text) in texts {
        assert_eq!(puzzling_word(&text), None, "{name}");
    }
    let example = ["begins an", "ew."].concat();
    assert!(puzzling_word(&example).is_some());
    assert_eq!(puzzling_word("a renewal"), None);
}

/// Where the wall clock of this machine may be read: what is compared with nats-server's clock, a
/// store that knows no NATS, and commands that a person runs.
const WALL_CLOCKS: [&str; 3] = ["src/bus/server_clock.rs", "src/store/cql/", "src/node/"];

#[test]
fn time_comes_from_the_clock_of_nats() {
    let reads = |text: &str| product(text).any(|line| line.contains("SystemTime::now()"));
    for (name, text) in files("src") {
        let may = WALL_CLOCKS.iter().any(|allowed| name.starts_with(allowed));
        let found = !may && !is_test_file(&name) && reads(&text);
        assert!(!found, "{name} reads the wall clock: take `Bus::now`");
    }
    assert!(reads("    let now = SystemTime::now();"));
}
