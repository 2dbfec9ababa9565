//! No files import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, is_test_file, product};

type Module = Vec<String>;
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

/// `src/bus/pull.rs` is `[src, bus, pull]`, and `src/bus/mod.rs` is `[src, bus]`.
fn module(path: &str) -> Module {
    let name = path.strip_suffix(".rs").expect("a Rust file");
    let mut parts: Module = name.split('/').map(str::to_owned).collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts
}

/// The paths in the tree of a `use`: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(brace) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let parts = path.split("::").map(|part| part.trim().to_owned());
        return vec![parts.filter(|part| !part.is_empty()).collect()];
    };
    let head = &paths(tree[..brace].trim_end_matches(':'))[0];
    // A text with the word `use` may look like an item: then nothing is found in it.
    let end = tree.rfind('}').unwrap_or_default();
    let inside = tree.get(brace + 1..end).unwrap_or_default();
    let mut depth = 0;
    let parts = inside.split(|letter| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts
        .filter(|part| !part.trim().is_empty())
        .flat_map(paths)
        .map(|rest| head.iter().cloned().chain(rest).collect())
        .collect()
}

/// The trees of all `use` items outside tests.
fn uses(text: &str) -> Vec<String> {
    let lines = product(text).filter_map(|line| line.split("//").next());
    let flat = lines.collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (at, _) in flat.match_indices("use ") {
        let begins = flat[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !before.is_alphanumeric());
        if let Some(end) = flat[at..].find(';').filter(|_| begins) {
            found.push(flat[at + 4..at + end].to_owned());
        }
    }
    found
}

/// The module that a path of `from` leads to, if it is a file here: the longest beginning that is.
fn target(from: &Module, path: &[String], known: &BTreeSet<Module>) -> Option<Module> {
    let mut base = from.clone();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => {
            base.truncate(if from[0] == "bench" { 2 } else { 1 });
            rest = &path[1..];
        }
        Some("self" | "super") => {
            while let Some(word @ ("self" | "super")) = rest.first().map(String::as_str) {
                if word == "super" {
                    base.pop();
                }
                rest = &rest[1..];
            }
        }
        _ => {}
    }
    (1..=rest.len()).rev().find_map(|length| {
        let module: Module = base.iter().chain(&rest[..length]).cloned().collect();
        known.contains(&module).then_some(module)
    })
}

fn arrows(sources: &BTreeMap<String, String>) -> Arrows {
    let known: BTreeSet<Module> = sources.keys().map(|name| module(name)).collect();
    let mut arrows = Arrows::new();
    for (name, text) in sources {
        let from = module(name);
        let trees = uses(text);
        let targets = trees
            .iter()
            .flat_map(|tree| paths(tree))
            .filter_map(|path| target(&from, &path, &known))
            .filter(|to| *to != from);
        arrows.insert(from.clone(), targets.collect());
    }
    arrows
}

fn reachable(from: &Module, arrows: &Arrows) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Module> = arrows[from].iter().collect();
    while let Some(module) = open.pop() {
        if seen.insert(module.clone()) {
            open.extend(&arrows[module]);
        }
    }
    seen
}

/// Sets of files of which each reaches all others.
fn circles(arrows: &Arrows) -> BTreeSet<Vec<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<Module>> = arrows
        .keys()
        .map(|module| (module, reachable(module, arrows)))
        .collect();
    let mut found = BTreeSet::new();
    for (module, seen) in &reached {
        let circle = seen.iter().filter(|other| reached[other].contains(*module));
        let circle: Vec<Module> = circle.cloned().collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found
}

/// A parent that re-exports its children, which use what it defines, is one thing in several files.
fn is_parent_with_children(circle: &[Module]) -> bool {
    circle
        .iter()
        .any(|parent| circle.iter().all(|module| module.starts_with(parent)))
}

#[test]
fn files_import_each_other_in_no_circle() {
    for folder in ["src", "bench/src"] {
        let mut sources = files(folder);
        sources.retain(|name, _| !is_test_file(name));
        let all = circles(&arrows(&sources));
        let found: Vec<_> = all
            .iter()
            .filter(|circle| !is_parent_with_children(circle))
            .map(|circle| {
                circle
                    .iter()
                    .map(|module| module.join("/"))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(found.is_empty(), "circles: {found:#?}");
    }
}

#[test]
fn the_checker_finds_circles_of_two_and_three_files_and_no_others() {
    let source = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let sources = BTreeMap::from([
        source("src/lib.rs", "pub mod a;"),
        source("src/a/mod.rs", "mod b; mod c; mod d;"),
        source("src/a/b.rs", "use super::{c::{C, self}, d};"),
        source(
            "src/a/c.rs",
            "use crate::a::d::D;\n#[cfg(test)]\nuse crate::e::E;",
        ),
        source("src/a/d.rs", "use super::b::B as X;"),
        source("src/e.rs", "use crate::f::F; // use crate::g::G;"),
        source("src/f.rs", "use std::fmt;\nuse super::e;"),
        source("src/g.rs", "use crate::{e::E, f};"),
    ]);
    let found = circles(&arrows(&sources));
    let names = |circle: &[Module]| circle.iter().map(|one| one.join("/")).collect::<Vec<_>>();
    let found: Vec<_> = found.iter().map(|circle| names(circle)).collect();
    assert_eq!(
        found,
        [
            vec!["src/a/b", "src/a/c", "src/a/d"],
            vec!["src/e", "src/f"]
        ]
    );
}
