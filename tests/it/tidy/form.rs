//! The form of the sources: who starts tasks, and how statements look.

use super::{code, files, is_test_file, product};

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
