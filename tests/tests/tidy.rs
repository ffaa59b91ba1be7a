//! The house rules that a machine can check, each as a test that names file, line and what to do.
//!
//! Owns the lists below. A list of exceptions may only shrink: what is in it and no longer needed fails too.

#![allow(clippy::unwrap_used)]

use palisade_tests::source::{Source, find_word};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a function, and of a file without its tests. Beyond, a reader loses the thread.
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;

/// Longer than that today: `path` or `path::function`, and how long. They may only shrink.
const TOO_LONG: &[(&str, usize)] = &[];

/// Crates that are `no_std`, without an allocator, for ever.
const STATIC_CRATES: &[&str] = &["appliance/core/src/", "methods/src/", "appliance/src/"];

/// The door of the test image behind which an allocation is made on purpose; the feature `faults` alone builds it.
const ALLOCATES_ON_PURPOSE: &str = "appliance/src/faults.rs";

/// Crates that forbid `unsafe` altogether.
const SAFE_CRATES: &[&str] = &["appliance/core/src/lib.rs", "methods/src/lib.rs", "appliance/ctl/src/main.rs"];

/// Where `unsafe` may be: the unikernel's drivers and boot files, the loader, and the files that call the C library.
const UNSAFE_ROOMS: &[&str] = &[
    "appliance/guard/src/memory.rs",
    "appliance/guard/src/sys.rs",
    "appliance/src/boot.rs",
    "appliance/src/cell.rs",
    "appliance/src/clock.rs",
    "appliance/src/fwcfg.rs",
    "appliance/src/hal.rs",
    "appliance/src/log.rs",
    "appliance/src/main.rs",
    "appliance/src/mmio.rs",
    "appliance/src/pci.rs",
    "appliance/src/port.rs",
    "appliance/src/ring.rs",
    "appliance/src/stack.rs",
    "appliance/src/timer.rs",
    "images/loader/src/main.rs",
    "images/loader/src/port.rs",
    "images/loader/src/start.rs",
    "images/loader/src/start_info.rs",
    "images/loader/src/tsc.rs",
    "images/node/checker/src/sys.rs",
    "images/node/client/src/sys.rs",
    "qemu/src/sys.rs",
];

/// Words that have a better one here, and that one.
const GLOSSARY: &[(&str, &str)] = &[
    ("stonith", "fence, or device"),
    ("daemon", "guard, appliance, or the name of the program"),
    ("coordinator", "leader"),
    ("master", "leader"),
    ("slave", "member"),
    ("arbitrator", "witness"),
    ("tiebreaker", "witness"),
    ("split-brain", "two leaders, or two lines of views"),
    ("failover", "takeover"),
    ("blacklist", "a word that says what is refused"),
    ("whitelist", "a word that says what is allowed"),
];

/// Words of other people's specifications, which are kept as they are.
const FOREIGN_WORDS: &[&str] = &["bus master", "master the bus", "slave address"];

/// Every file of the repository that a person wrote, as path from its root.
fn files() -> Vec<String> {
    fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_hidden = name.starts_with('.') && ![".ci", ".cargo", ".gitignore"].contains(&name.as_str());
            if is_hidden || name == "target" || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort();
    assert!(found.len() > 50, "the repository was not found");
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn rust_files() -> Vec<(String, Source)> {
    let rust = files().into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| (Source::new(&text(&path)), path)).map(|(source, path)| (path, source)).collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn static_crates_have_neither_std_nor_alloc() {
    let mut complaints = Vec::new();
    for (path, source) in rust_files() {
        if !STATIC_CRATES.iter().any(|room| path.starts_with(room)) || is_test(&path) || path == ALLOCATES_ON_PURPOSE {
            continue;
        }
        for word in ["std", "alloc"] {
            // A path or an extern crate; `alloc` alone may be a part of a sentence or a name.
            for form in [format!("{word}::"), format!("crate {word}")] {
                if let Some(line) = find_word(&source.product, form.trim_end_matches("::")).filter(|_| {
                    source
                        .product
                        .match_indices(&form)
                        .any(|(at, _)| !source.product[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
                }) {
                    complaints.push(format!("{path}:{line}: uses {word}; this crate is static memory only"));
                }
            }
        }
    }
    for path in ["appliance/core/src/lib.rs", "methods/src/lib.rs", "appliance/src/main.rs"] {
        if !text(path).contains("#![no_std]") {
            complaints.push(format!("{path}: #![no_std] is missing"));
        }
    }
    none(&complaints);
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for (path, source) in rust_files() {
        let Some(line) = find_word(&source.product, "unsafe") else { continue };
        if UNSAFE_ROOMS.contains(&path.as_str()) {
            used.push(path);
        } else if !is_test(&path) {
            complaints
                .push(format!("{path}:{line}: `unsafe` outside its rooms; move it, or argue in UNSAFE_ROOMS of tidy"));
        }
    }
    for room in UNSAFE_ROOMS {
        if !used.iter().any(|path| path == room) {
            complaints.push(format!("{room}: has no `unsafe` any more; take it out of UNSAFE_ROOMS of tidy"));
        }
    }
    for path in SAFE_CRATES {
        if !Source::new(&text(path)).code.contains("#![forbid(unsafe_code)]") {
            complaints.push(format!("{path}: #![forbid(unsafe_code)] is missing"));
        }
    }
    none(&complaints);
}

#[test]
fn functions_and_files_are_short() {
    let mut long: Vec<(String, usize, usize)> = Vec::new();
    for (path, source) in rust_files() {
        if is_test(&path) {
            continue;
        }
        let lines = source.product_lines();
        if lines > FILE_LINES_MAX {
            long.push((path.clone(), lines, FILE_LINES_MAX));
        }
        for function in source.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                long.push((format!("{path}::{}", function.name), function.lines, FUNCTION_LINES_MAX));
            }
        }
    }
    let mut complaints = Vec::new();
    for (what, lines, most) in &long {
        match TOO_LONG.iter().find(|(known, _)| known == what) {
            None => complaints.push(format!("{what}: {lines} lines; at most {most}: divide it")),
            Some((_, known)) if lines > known => {
                complaints.push(format!("{what}: {lines} lines, it had {known}: divide it"))
            }
            Some((_, known)) if lines < known => {
                complaints.push(format!("{what}: {lines} lines now; write that into TOO_LONG of tidy"));
            }
            Some(_) => {}
        }
    }
    for (known, _) in TOO_LONG {
        if !long.iter().any(|(what, _, _)| what == known) {
            complaints.push(format!("{known}: is short now; take it out of TOO_LONG of tidy"));
        }
    }
    none(&complaints);
}

#[test]
fn every_source_opens_with_what_it_owns() {
    let rust = rust_files().into_iter().filter(|(_, source)| !source.text.starts_with("//!"));
    let c = files().into_iter().filter(|path| path.ends_with(".c") && !text(path).starts_with("// SPDX"));
    let complaints: Vec<String> = rust
        .map(|(path, _)| format!("{path}: open it with `//!`: what it owns, what it must never do"))
        .chain(c.map(|path| format!("{path}: open it with its SPDX line")))
        .collect();
    none(&complaints);
}

#[test]
fn every_crate_takes_the_lints_of_its_workspace() {
    let complaints: Vec<String> = files()
        .into_iter()
        .filter(|path| path.ends_with("Cargo.toml") && path != "Cargo.toml")
        .filter(|path| {
            let text = text(path);
            // The loader is a workspace of one crate and may write its lints out.
            !text.contains("[lints]\nworkspace = true") && !text.contains("[lints.rust]")
        })
        .map(|path| format!("{path}: add [lints] workspace = true"))
        .collect();
    none(&complaints);
}

#[test]
fn words_have_one_meaning() {
    let mut complaints = Vec::new();
    for path in files() {
        let is_text = [".rs", ".md", ".c", ".h", ".toml", ".service"].iter().any(|end| path.ends_with(end));
        if !is_text || path == "tests/tests/tidy.rs" {
            continue;
        }
        for (number, line) in text(&path).lines().enumerate() {
            let mut line = line.to_lowercase();
            for foreign in FOREIGN_WORDS {
                line = line.replace(foreign, "");
            }
            for (word, better) in GLOSSARY {
                if find_word(&line, word).is_some() {
                    complaints.push(format!("{path}:{}: `{word}`; here we say {better}", number + 1));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn documents_name_what_exists() {
    let known = files();
    let mut complaints = Vec::new();
    for path in known.iter().filter(|path| path.ends_with(".md")) {
        let body = text(path);
        for target in links(&body) {
            let file = target.split('#').next().unwrap_or("");
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let resolved =
                if file.is_empty() { root().join(path) } else { root().join(path).parent().unwrap().join(file) };
            if !resolved.exists() {
                complaints.push(format!("{path}: the link to {target} leads nowhere"));
            }
        }
        for name in quoted(&body) {
            let is_file = [".rs", ".md", ".toml", ".c", ".patch", ".service"].iter().any(|end| name.ends_with(end));
            let exists = known.iter().any(|file| *file == name || file.ends_with(&format!("/{name}")));
            if is_file && name.contains('/') && !name.contains(['*', '<', ' ']) && !exists {
                complaints.push(format!("{path}: there is no `{name}`"));
            }
        }
    }
    for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "images/node/hang/COPYING"] {
        if !known.iter().any(|path| path == file) {
            complaints.push(format!("{file} is missing"));
        }
    }
    for document in ["ARCHITECTURE", "PROTOCOL", "METHODS", "DEADLOCK-RULES", "OPERATING", "TESTING", "SAFETY"] {
        if !known.contains(&format!("docs/{document}.md")) {
            complaints.push(format!("docs/{document}.md is missing"));
        }
    }
    none(&complaints);
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let starts = text.match_indices("](").map(|(at, _)| at + 2);
    starts.filter_map(|at| text[at..].split_once(')').map(|(target, _)| target.to_owned())).collect()
}

/// What stands in backquotes on one line, outside code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn licences_are_named_and_there() {
    let mut complaints = Vec::new();
    if !text("LICENSE-MIT").contains("Permission is hereby granted") || !text("LICENSE-APACHE").contains("Version 2.0")
    {
        complaints.push("LICENSE-MIT and LICENSE-APACHE hold their texts".to_owned());
    }
    for path in files() {
        let is_kernel_code =
            path.ends_with(".c") && (path.starts_with("images/node/") || path.starts_with("appliance/shim/"));
        if is_kernel_code && !text(&path).starts_with("// SPDX-License-Identifier: GPL-2.0-only") {
            complaints.push(format!("{path}: kernel code opens with // SPDX-License-Identifier: GPL-2.0-only"));
        }
        if path.ends_with("Cargo.toml") {
            let text = text(&path);
            if text.contains("[package]")
                && !text.contains("license.workspace = true")
                && !text.contains("license = \"MIT OR Apache-2.0\"")
            {
                complaints.push(format!("{path}: say license = \"MIT OR Apache-2.0\""));
            }
        }
    }
    none(&complaints);
}

#[test]
fn cited_rules_exist() {
    let rules = text("docs/SAFETY.md");
    let design = text("docs/ARCHITECTURE.md");
    let mut complaints = Vec::new();
    for path in files().into_iter().filter(|path| [".rs", ".c", ".md", ".patch"].iter().any(|end| path.ends_with(end)))
    {
        let body = text(&path);
        for (at, _) in body.match_indices("SAFETY ") {
            for id in cited(&body[at + 7..]) {
                if !rules.contains(&format!("**{id}**")) {
                    complaints.push(format!("{path}: cites SAFETY {id}, which docs/SAFETY.md does not have"));
                }
            }
        }
        for (at, mark) in body.match_indices("DESIGN §") {
            let number: String = body[at + mark.len()..].chars().take_while(char::is_ascii_digit).collect();
            if !number.is_empty() && !design.contains(&format!("§{number} ")) {
                complaints.push(format!("{path}: cites DESIGN §{number}, which docs/ARCHITECTURE.md does not list"));
            }
        }
    }
    none(&complaints);
}

/// `E2, E4 ...` as far as it goes on like that. A letter alone means its whole chapter.
fn cited(text: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for piece in text.split(", ") {
        let id: String = piece.chars().take_while(char::is_ascii_alphanumeric).collect();
        let mut letters = id.chars();
        let is_id = letters.next().is_some_and(|c| ('A'..='I').contains(&c)) && letters.all(|c| c.is_ascii_digit());
        if !is_id {
            break;
        }
        let goes_on = id.len() == piece.len();
        if id.len() > 1 {
            ids.push(id);
        }
        if !goes_on {
            break;
        }
    }
    ids
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() {
    let mut complaints = Vec::new();
    // Put together here, or this file would find itself.
    let homes = ["root", "home", "Users", "work"].map(|home| format!("/{home}/"));
    for path in files() {
        for (number, line) in text(&path).lines().enumerate() {
            for home in &homes {
                let is_absolute =
                    |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-})".contains(c));
                if line.match_indices(home.as_str()).any(|(at, _)| is_absolute(at)) {
                    complaints.push(format!("{path}:{}: an absolute path below {home}", number + 1));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn versions_are_pinned() {
    let lock_files = ["Cargo.lock", "appliance/Cargo.lock", "images/loader/Cargo.lock"];
    let mut complaints: Vec<String> =
        lock_files.iter().filter(|path| text(path).is_empty()).map(|path| format!("{path} is missing")).collect();
    if !text("Cargo.toml").contains("rust-version = ") {
        complaints.push("Cargo.toml: state rust-version".to_owned());
    }
    for path in files().into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        for (number, line) in text(&path).lines().enumerate() {
            let version = line.split_once("version = \"").map(|(_, rest)| rest);
            let is_dependency = version.is_some() && line.contains('{') && !line.starts_with("libc");
            if is_dependency && !version.is_some_and(|version| version.starts_with('=')) {
                complaints.push(format!("{path}:{}: pin the version with `=`", number + 1));
            }
        }
    }
    none(&complaints);
}
