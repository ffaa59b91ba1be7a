//! The shim's C as the kernel's own tools see it: checkpatch, kbuild with all warnings, sparse, DKMS; and what its users are told.
//!
//! Owns the list of what checkpatch may say, each with its reason. It must never grow without one.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_images::{House, node, setup};

mod interop_support;

use interop_support::run_dir;

/// What checkpatch is not asked about, and why.
const IGNORED: [(&str, &str); 1] = [(
    "LONG_LINE_STRING",
    "an event is one line of the log, and its words are one string, so that they can be looked for",
)];

/// The module's sources; what runs in user space alone (`user/`) obeys libFuzzer's and C's names.
fn sources() -> Vec<PathBuf> {
    let folder = House::here().root().join("appliance/shim");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "c" || end == "h")).collect();
    paths.sort();
    paths
}

/// What checkpatch says: whether all is well, and its words.
fn checkpatch(files: &[PathBuf]) -> (bool, String) {
    setup::ensure(&["perl"]).unwrap_or_else(|error| panic!("{error}"));
    let script = node::checkpatch(&House::here()).unwrap_or_else(|error| panic!("{error}"));
    let ignored: Vec<_> = IGNORED.iter().map(|(name, _)| *name).collect();
    let output = Command::new("perl")
        .arg(&script)
        .args(["--no-tree", "--strict", "--terse", "--show-types", "--no-summary", "--ignore", &ignored.join(",")])
        .arg("--file")
        .args(files)
        // It leaves a note of names with capitals where it stands.
        .current_dir(script.parent().unwrap())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn checkpatch_has_nothing_to_say() {
    let files = sources();
    assert!(files.len() > 20, "{files:?}");
    let (is_clean, words) = checkpatch(&files);
    assert!(is_clean && words.trim().is_empty(), "{words}");
    // It would have: this is what nobody may write.
    let bad = std::env::temp_dir().join(format!("palisade-style-{}.c", std::process::id()));
    fs::write(&bad, "// SPDX-License-Identifier: GPL-2.0-only\nint f(void) {\n    return 1;\n}\n").unwrap();
    let (is_clean, words) = checkpatch(std::slice::from_ref(&bad));
    fs::remove_file(&bad).unwrap();
    assert!(!is_clean && words.contains("OPEN_BRACE"), "{words}");
}

#[test]
fn compiler_and_sparse_have_no_warnings() {
    let words = node::shim_warnings(&House::here()).unwrap_or_else(|error| panic!("{error}"));
    let warnings: Vec<_> = words.lines().filter(|line| !line.starts_with("Skipping BTF")).collect();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
}

fn text(path: &str) -> String {
    fs::read_to_string(House::here().root().join(path)).unwrap()
}

/// What stands between `start` and `end`, each time.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).map(move |rest| rest.split_once(end).unwrap_or((rest, "")).0)
}

#[test]
fn each_parameter_and_each_name_of_the_state_is_documented() {
    let document = text("docs/OPERATING.md");
    let (mut names, mut parameters) = (0, 0);
    for path in sources() {
        let source = fs::read_to_string(&path).unwrap();
        for name in between(&source, "module_param(", ",").chain(between(&source, "module_param_named(", ",")) {
            assert!(document.contains(&format!("| `{name}` |")), "{}: parameter {name}", path.display());
            parameters += 1;
        }
        for format in between(&source, "seq_printf(file, \"", "\"") {
            for name in format.split("\\n").filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()) {
                assert!(document.contains(&format!("`{name}`")), "{}: {name} of the state", path.display());
                names += 1;
            }
        }
    }
    assert!(names > 30 && parameters >= 5, "{names} {parameters}");
}

#[test]
fn unloading_takes_nothing_away_that_others_use() {
    // `modprobe -r` unloads what a softdep names, a bus without users by reference too: the root disk went with it.
    for path in sources() {
        assert!(!fs::read_to_string(&path).unwrap().contains("MODULE_SOFTDEP"), "{}", path.display());
    }
    for line in text("appliance/shim/modprobe.d/palisade.conf").lines().filter(|line| line.starts_with("softdep")) {
        assert!(line.ends_with(" pre: palisade"), "{line}");
    }
}

#[test]
fn module_and_dkms_have_the_version_of_all() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(text("appliance/shim/dkms.conf").contains(&format!("PACKAGE_VERSION=\"{version}\"")));
    assert!(text("appliance/shim/main.c").contains(&format!("MODULE_VERSION(\"{version}\")")));
    assert!(text("docs/OPERATING.md").contains(&format!("palisade-{version}")));
}

/// Headers where DKMS expects them: a flavour's Makefile names the common one by the place where it would be installed.
fn headers_in(folder: &Path) -> String {
    let (release, common, flavour) = node::headers(&House::here()).unwrap_or_else(|error| panic!("{error}"));
    for entry in fs::read_dir(flavour).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_owned();
        if name != "Makefile" {
            symlink(&entry, folder.join(name)).unwrap();
        }
    }
    fs::write(folder.join("Makefile"), format!("include {}/Makefile\n", common.display())).unwrap();
    release
}

#[test]
fn dkms_builds_installs_and_removes_the_module() {
    setup::ensure(&["dkms"]).unwrap_or_else(|error| panic!("{error}"));
    let folder = run_dir("shim-dkms");
    let place = |name: &str| {
        fs::create_dir_all(folder.join(name)).unwrap();
        folder.join(name)
    };
    let (sources, tree, kernel, installed) = (place("src"), place("tree"), place("kernel"), place("modules"));
    let release = headers_in(&kernel);
    place(&format!("modules/{release}"));
    let (module, house) = (format!("palisade/{}", env!("CARGO_PKG_VERSION")), House::here());
    let copy = sources.join(module.replace('/', "-"));
    let copied = Command::new("cp").arg("-r").arg(house.root().join("appliance/shim")).arg(copy).status().unwrap();
    assert!(copied.success());
    // The package of the kernel's sources is not installed here; these are out of it.
    let source = node::checkpatch(&house).unwrap_or_else(|error| panic!("{error}"));
    let source = source.parent().unwrap().parent().unwrap();
    let dkms = |word: &str, more: &[&str]| {
        let mut command = Command::new("dkms");
        command.args([word, &module, "-k", &release, "-a", "x86_64"]).args(more);
        command.arg("--dkmstree").arg(&tree).arg("--sourcetree").arg(&sources).arg("--installtree").arg(&installed);
        let output = command.env("PALISADE_SOURCE", source).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let log = fs::read_to_string(tree.join(&module).join("build/make.log")).unwrap_or_default();
        assert!(output.status.success(), "dkms {word}: {said}{log}");
    };
    dkms("add", &[]);
    dkms("build", &["--kernelsourcedir", &kernel.display().to_string()]);
    dkms("install", &["--no-depmod"]);
    let there = installed.join(&release).join("updates/dkms/palisade.ko");
    let about = Command::new("modinfo").arg(&there).output().unwrap();
    let about = String::from_utf8_lossy(&about.stdout).into_owned();
    for words in [
        "license:        GPL",
        "name:           palisade",
        &format!("vermagic:       {release} "),
        "parm:           node:",
    ] {
        assert!(about.contains(words), "no `{words}` in {about}");
    }
    assert!(!about.contains("softdep:"), "{about}");
    dkms("remove", &["--no-depmod"]);
    assert!(!there.exists());
    fs::remove_dir_all(&folder).unwrap();
}
