//! POSIX locks of the whole cluster as the shim's C decides them: three nodes in user space against a simple model.
//!
//! Owns the runs of `appliance/shim/user/locks.c`, and mistakes that its model must find. What processes see is for
//! `ocfs2_locks`. Must never pass on a run that reached little.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use palisade_images::{House, setup};

mod interop_support;

use interop_support::{LOCKS, MACHINE, run_dir};

/// With limits so small that each is met, and as it is.
const SIZES: [&[&str]; 2] = [&["-DPAL_SMALL"], &[]];

fn shim() -> PathBuf {
    House::here().root().join("appliance/shim")
}

fn compile(from: &Path, program: &Path, with: &[&str]) {
    setup::ensure(&["gcc-12", "libc6-dev"]).unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new("gcc-12")
        .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Werror", "-Iuser"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
        .args(with)
        .args(MACHINE)
        .args(LOCKS)
        .args(["user/wires.c", "user/model.c", "user/locks.c", "-o"])
        .arg(program)
        .current_dir(from)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn play(program: &Path, lives: u32) -> Output {
    Command::new(program).args(["1", &lives.to_string()]).output().unwrap()
}

#[test]
fn no_two_hold_what_one_of_them_writes_whatever_dies_or_is_lost() {
    let folder = run_dir("shim-locks");
    for (size, with) in SIZES.into_iter().enumerate() {
        let program = folder.join(format!("locks-{size}"));
        compile(&shim(), &program, with);
        let output = play(&program, 60);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{with:?}: {said}{}", text(&output.stderr));
        let last = said.lines().last().unwrap();
        println!("{last}");
        let reached = |name: &str| -> u64 {
            let value = last.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
        };
        assert!(last.starts_with("PASS "), "{last}");
        // It must have come far enough to mean something.
        for (name, least) in [("granted", 3000), ("refused", 2000), ("cancels", 2000), ("starts", 300), ("deaths", 50)]
        {
            assert!(reached(name) > least, "{name}: {last}");
        }
        for (name, least) in [("agains", 100), ("deadlocks", 30), ("gones", 300), ("reports", 300), ("at_once", 50)] {
            assert!(reached(name) > least, "{name}: {last}");
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// What a person may get wrong in the C, each in a copy of it: file, what stands there, and what would stand there.
const MISTAKES: [(&str, &str, &str); 10] = [
    // The arbiter grants although a member has not reported.
    ("arbiter.c", "\t\t\topen = false;\n", "\t\t\t;\n"),
    // It goes on granting while a report is given again.
    ("arbiter.c", "\t\tp->a.open = false;\n", ""),
    // What was granted in the moment of a cancel is not given back.
    ("holder.c", "\tif (ask->word == PAL_LINE_ASK)\n\t\tpal_tell_range(p, &ask->want);\n", ""),
    // A thread lowers what another one of its process asks for.
    ("holder.c", "\t\tif (lowered)\n\t\t\tpal_withdraw(p, ask);\n", ""),
    // An answer of before a STOP counts.
    ("holder.c", "\t\t\task->state = PAL_ASK_NEW;\n", "\t\t\task->state = PAL_ASK_SENT;\n"),
    // What the channel lost at the begin of a stream is skipped.
    ("mail.c", "peer->begun ? peer->next : min(peer->acked + 1, peer->next)", "peer->next"),
    // What a sender repeats counts twice.
    ("mail.c", "\tif (number > peer->heard) {\n", "\tif (number) {\n\t\tpeer->heard = number - 1;\n"),
    // What moves to another place while the report walks is passed by.
    ("holder.c", "\tif (p->stage == PAL_STAGE_HELD &&\n", "\tif (0 && p->stage == PAL_STAGE_HELD &&\n"),
    // What finds no room among the news is not told at all.
    ("holder.c", "\t\tpal_tell_all(p);\n\t\treturn;\n", "\t\treturn;\n"),
    // A grant lowers what its owner had for writing before the owner knows.
    ("arbiter.c", "pal_ranges_raise(&a->book,", "pal_ranges_set(&a->book,"),
];

#[test]
fn mistakes_in_the_locks_are_found() {
    for (number, (file, right, wrong)) in MISTAKES.into_iter().enumerate() {
        let folder = run_dir("locks-mistake");
        let copied = Command::new("cp").arg("-r").arg(shim()).arg(folder.join("shim")).status().unwrap();
        assert!(copied.success());
        let path = folder.join("shim").join(file);
        let source = fs::read_to_string(&path).unwrap();
        assert_eq!(source.matches(right).count(), 1, "{file} says it otherwise now: {right}");
        fs::write(&path, source.replace(right, wrong)).unwrap();
        let program = folder.join("locks");
        let found = SIZES.iter().find_map(|with| {
            compile(&folder.join("shim"), &program, with);
            let output = play(&program, 300);
            (!output.status.success()).then(|| text(&output.stdout))
        });
        let said = found.unwrap_or_else(|| panic!("nobody notices mistake {number} in {file}: {wrong}"));
        println!("PASS mistake {number} in {file} is found: {}", said.lines().last().unwrap_or_default());
        fs::remove_dir_all(&folder).unwrap();
    }
}
