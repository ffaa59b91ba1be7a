//! Which steps `cargo verify` has, and in which order: cheap ones first, so that a small mistake is told early.
//!
//! Owns the list. It must never leave a test out: the files of the tests folder are read, not written down here, and one
//! that nobody put into a group is taken for one that boots VMs.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How `--only` calls it.
    pub name: String,
    /// What it does, for `--list`.
    pub about: String,
    /// How.
    pub work: Work,
    /// After this time it hangs.
    pub timeout: Duration,
}

/// How a step is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Install what is missing.
    Install,
    /// Build the images, the guard, and what else the scenes need.
    Images,
    /// Run this program of the Rust toolchain with these arguments.
    Run(&'static str, Vec<String>),
}

impl Step {
    /// The steps without which this one cannot run alone.
    #[must_use]
    pub fn needs(&self) -> &'static [Work] {
        match self.name.as_str() {
            "fmt" | "fmt-unikernel" | "clippy" => &[Work::Install],
            "tidy" | "unit" | "doc" | "install" | "clippy-unikernel" | "audit" | "reproducible" => &[],
            "ctl" | "guard" => &[Work::Install],
            name if is_pure(name) => &[],
            name if name.starts_with("interop") => &[Work::Install],
            _ => &[Work::Install, Work::Images],
        }
    }
}

/// Tests with such a name take long and are left out unless they are asked for.
const LONG: &str = "long_";

/// All steps for the repository at `root`.
///
/// # Errors
/// The tests folder cannot be read.
pub fn steps(root: &Path, long: bool) -> std::io::Result<Vec<Step>> {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let run = |program: &'static str, name: &str, about: &str, line: &str, most: Duration| Step {
        name: name.to_owned(),
        about: about.to_owned(),
        work: Work::Run(program, line.split_whitespace().map(str::to_owned).collect()),
        timeout: most,
    };
    let cargo = |name: &str, about: &str, line: &str, most: Duration| run("cargo", name, about, line, most);
    let test = |selection: &str, harness: &str| {
        let skip = if long { String::new() } else { format!("--skip {LONG}") };
        format!("test {selection} -- --include-ignored {skip} {harness}")
    };
    let mut steps = vec![
        Step {
            name: "install".to_owned(),
            about: "what a bare machine lacks".to_owned(),
            work: Work::Install,
            timeout: minutes(10),
        },
        cargo("fmt", "the sources are formatted", "fmt --all --check", minutes(2)),
        // Both are built elsewhere, so cargo does not know them here.
        run(
            "rustfmt",
            "fmt-unikernel",
            "so are unikernel and loader",
            "--check --edition 2024 appliance/src/main.rs images/loader/src/main.rs",
            minutes(2),
        ),
        cargo("tidy", "the house rules", &test("-p palisade-tests --test tidy", ""), minutes(10)),
        cargo("clippy", "no warnings", "clippy --workspace --all-targets -- -D warnings", minutes(10)),
        cargo(
            "clippy-unikernel",
            "no warnings in unikernel and loader",
            "run --quiet --release -p palisade-images --bin image -- --lint",
            minutes(10),
        ),
        cargo("unit", "unit tests of every crate", &test("--workspace --lib --bins", ""), minutes(10)),
        cargo("doc", "examples in the documentation", "test --workspace --doc", minutes(5)),
        cargo("ctl", "palisadectl as a person calls it", &test("-p palisade-ctl --test *", ""), minutes(5)),
        cargo(
            "guard",
            "the guard with real processes",
            &test("-p palisade-guard --test *", "--test-threads=1"),
            minutes(10),
        ),
        Step {
            name: "images".to_owned(),
            about: "build the images, the guard, and what else the scenes need".to_owned(),
            work: Work::Images,
            timeout: minutes(25),
        },
        cargo(
            "audit",
            "the unikernel calls only what it may, nothing asks for memory, no function calls itself",
            "run --quiet --release -p palisade-images --bin image -- --audit",
            minutes(10),
        ),
        cargo(
            "reproducible",
            "two builds in two folders give the same bytes",
            "run --quiet --release -p palisade-images --bin image -- --reproducible",
            minutes(15),
        ),
    ];
    // Enough seeds that what is rare happens, and a few clusters as large as they may be.
    let sim = "run --quiet --release -p palisade-tests --bin sim --";
    steps.push(cargo("sim", "20000 seeds of the simulator", &format!("{sim} --seeds 20000"), minutes(20)));
    steps.push(cargo(
        "sim-calm",
        "1000 seeds in which nobody may be fenced",
        &format!("{sim} --calm --seeds 1000"),
        minutes(10),
    ));
    steps.push(cargo(
        "sim-255",
        "two seeds with 255 hosts",
        &format!("{sim} --seeds 2 --from 11 --hosts 255"),
        minutes(10),
    ));
    steps.push(cargo(
        "sim-node-down",
        "the time to NODE_DOWN for 3 to 255 hosts",
        &format!("{sim} --node-down"),
        minutes(10),
    ));
    for file in test_files(root, long)? {
        let about = first_sentence(&root.join("tests/tests").join(format!("{file}.rs")));
        // VMs and real peers share two cores with their test: one at a time.
        let threads = if is_pure(&file) { "" } else { "--test-threads=1 --nocapture" };
        let line = test(&format!("-p palisade-tests --test {file}"), threads);
        match file.as_str() {
            "tidy" => {}
            _ => steps.push(cargo(&file, &about, &line, minutes(20))),
        }
    }
    Ok(steps)
}

/// Whether a file's tests compute only: no other program, no real time.
fn is_pure(file: &str) -> bool {
    ["core", "sim", "scenario", "model", "mutation"].iter().any(|start| file.starts_with(start))
}

/// The names of the files in the tests folder that have something to run; those that boot VMs last.
fn test_files(root: &Path, long: bool) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("tests/tests"))? {
        let path = entry?.path();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        if path.extension().is_some_and(|end| end == "rs") && (long || !is_long(&fs::read_to_string(&path)?)) {
            names.extend(name);
        }
    }
    names.sort_by_key(|name| (!is_pure(name), !name.starts_with("interop"), name.clone()));
    Ok(names)
}

/// Whether all tests of a file take long: a step of it would pass with nothing done.
fn is_long(text: &str) -> bool {
    let tests = text.matches("#[test]").count();
    tests > 0 && tests == text.matches(&format!("fn {LONG}")).count()
}

/// The first sentence of a file's own documentation.
fn first_sentence(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//! ")).collect();
    let text = lines.join(" ");
    text.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(long: bool) -> Vec<Step> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("invariant: a crate lies in the workspace");
        steps(root, long).expect("the tests folder is there")
    }

    #[test]
    fn a_file_whose_tests_are_all_long_has_a_step_only_with_long() {
        let has = |long| here(long).iter().any(|step| step.name == "ocfs2_memory");
        assert!(has(true) && !has(false));
        assert!(here(false).iter().any(|step| step.name == "ocfs2_faults"), "it has short ones, too");
    }

    #[test]
    fn every_test_file_has_its_step() {
        let steps = here(true);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(root.join("tests")).expect("the tests folder is there") {
            let path = entry.expect("it can be read").path();
            if path.extension().is_some_and(|end| end == "rs") {
                let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
                assert_eq!(steps.iter().filter(|step| step.name == name).count(), 1, "{name}");
            }
        }
    }

    #[test]
    fn long_tests_run_only_when_they_are_asked_for() {
        let skips = |steps: &[Step]| {
            let lines = steps.iter().filter_map(|step| match &step.work {
                Work::Run(_, line) => Some(line.join(" ")),
                Work::Install | Work::Images => None,
            });
            lines.filter(|line| line.contains("--skip long_")).count()
        };
        assert!(skips(&here(false)) > 5);
        assert_eq!(skips(&here(true)), 0);
    }

    #[test]
    fn names_are_unique() {
        let steps = here(false);
        for (index, step) in steps.iter().enumerate() {
            assert!(steps[..index].iter().all(|other| other.name != step.name), "{}", step.name);
        }
    }
}
