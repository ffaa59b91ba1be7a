//! `palisadectl config check`: a sentence for everything that can be wrong with a file.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Scratch, palisadectl, sample};

#[test]
fn a_sound_file_passes() {
    let scratch = Scratch::new();
    let file = scratch.write("palisade.json", &sample("secret12", 3));
    let ended = palisadectl(&["config", "check", &file]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.out.contains("cluster `sample`, epoch 1: 3 hosts (3 votes), 2 nodes, 2 devices"), "{}", ended.said());
    assert!(ended.out.ends_with("no rule is broken\n") && !ended.out.contains("warning"), "{}", ended.said());
}

#[test]
fn what_is_wrong_is_named_with_field_value_and_rule() {
    let scratch = Scratch::new();
    for (from, to, sentences) in [
        ("10.2.0.3", "10.2.0.2", &["hosts[2].links[1].ip is 10.2.0.2: another link has this IPv4 address; give"][..]),
        ("\"10.2.0.3\"", "\"10.2.0\"", &["hosts[2].links[1].ip is \"10.2.0\" (line ", "an IPv4 address like 10.1.0.1"]),
        (
            "52:54:00:01:00:02",
            "525400010002",
            &["hosts[1].links[0].mac is \"525400010002\"", "an Ethernet address like"],
        ),
        ("\"host\": 2", "\"host\": 300", &["nodes[1].host is 300 (line ", "expected u8; write what is expected"]),
        ("\"host\": 2", "\"host\": 9", &["nodes[1].host is 9: no host has this number; name the host"]),
        (
            "\"host\": 2",
            "\"hots\": 2",
            &["nodes[1].hots", "unknown field `hots`, expected one of `id`, `name`", "remove it"],
        ),
        ("\"host\": 2, ", "", &["nodes[1] (line ", "missing field `host`; add it"]),
        ("\"epoch\": 1", "\"epoch\": \"one\"", &["epoch is \"one\" (line 2", "invalid type"]),
        ("\"epoch\": 1,", "", &["missing field `epoch`; add it"]),
        ("\"epoch\": 1", "\"epoch\": 1, \"epoch\": 2", &["duplicate field `epoch`; give it once"]),
        ("\"epoch\"", "\"epohc\"", &["unknown field `epohc`, expected one of `name`, `epoch`"]),
        ("\"ipmi\"", "\"redfish\"", &["devices[0].method", "unknown variant `redfish`, expected `ipmi`"]),
        (
            "[\"bmc2\"]",
            "[\"bmc1\"]",
            &["hosts[1].levels[0][0] is bmc1: no configured device has this name and covers this"],
        ),
        ("]]}", "]]", &["this is no JSON: ", " at line ", "correct it there"]),
        (
            "\"suite_min\": 3",
            "\"suite_min\": 8",
            &["devices[0].method.ipmi.suite_min is 8: only the cipher suites 3 and 17"],
        ),
        ("}\n", "} x\n", &["this is no JSON: "]),
    ] {
        let text = sample("secret12", 3);
        let broken = text.replacen(from, to, 1);
        assert_ne!(text, broken, "{from}");
        let file = scratch.write("palisade.json", &broken);
        let ended = palisadectl(&["config", "check", &file]);
        assert_eq!(ended.code, Some(1), "{from} -> {to}: {}", ended.said());
        for sentence in sentences {
            assert!(ended.err.contains(sentence), "{from} -> {to}: {}", ended.said());
        }
    }
}

#[test]
fn text_after_the_end_and_an_empty_file_are_refused() {
    let scratch = Scratch::new();
    for text in [format!("{} {{}}", sample("x", 3)), String::new(), "[]".to_owned(), "null".to_owned()] {
        let file = scratch.write("palisade.json", &text);
        let ended = palisadectl(&["config", "check", &file]);
        assert_eq!(ended.code, Some(1), "{}", ended.said());
        assert!(ended.err.starts_with("palisadectl: ") && !ended.err.contains("panicked"), "{}", ended.said());
    }
}

#[test]
fn neither_secret_nor_password_is_printed() {
    let scratch = Scratch::new();
    let long = "hush-hush-hush-hush-hush";
    for text in [
        sample(long, 3),
        sample("secret12", 3).replace("\"secret12\"", "7777777"),
        sample("secret12", 3).replace(&"5a".repeat(32), &"5b".repeat(31)),
        sample("secret12", 3).replace(&"5a".repeat(32), &"5g".repeat(32)),
    ] {
        let file = scratch.write("palisade.json", &text);
        let ended = palisadectl(&["config", "check", &file]);
        assert_eq!(ended.code, Some(1), "{}", ended.said());
        for hidden in [long, "7777777", "5b5b", "5g5g"] {
            assert!(!ended.said().contains(hidden), "{}", ended.said());
        }
        assert!(ended.err.contains("20 bytes") || ended.err.contains("64 hexadecimal digits"), "{}", ended.said());
    }
}

#[test]
fn warnings_do_not_refuse() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let file = scratch.write(
        "palisade.json",
        &sample("secret12", 3).replacen("\"levels\": []", "\"vote\": false, \"levels\": []", 1),
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = palisadectl(&["config", "check", &file]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.out.contains("warning: there are exactly two votes"), "{}", ended.said());
    assert!(ended.out.contains("warning: others may read this file"), "{}", ended.said());
}

#[test]
fn a_file_that_cannot_be_read_and_a_line_that_is_not_understood() {
    let ended = palisadectl(&["config", "check", "no/such/file"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("cannot read no/such/file: No such file"), "{}", ended.said());
    let ended = palisadectl(&["config", "chek", "x"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("--help"), "{}", ended.said());
}
