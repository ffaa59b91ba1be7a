//! What `palisade-guard check` and `run` refuse, and in which words.
//!
//! Owns the sentences that a person sees: field, value, rule, and what to do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{World, cluster, host};
use serde_json::{Value, json};

fn said(world: &World, verb: &str) -> (i32, String) {
    let output = world.once(verb);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_good_description_passes_and_says_what_a_dead_vm_proves() {
    let world = World::new("check-good");
    let mut good = host();
    world.write("volume", "");
    good["nodes"][0]["disks"] = json!([{ "source": { "file": "volume" }, "share": true }]);
    good["nodes"][1]["disks"] = json!([{ "source": { "file": "volume" }, "cache": "writeback" }]);
    world.write("host.json", &good.to_string());
    let (status, text) = said(&world, "check");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("node 1: vm-gone and vm-stopped prove that it can no longer write\n"), "{text}");
    assert!(
        text.contains("node 2: vm-gone and vm-stopped are no proof: disks[0] passes the host's page cache"),
        "{text}"
    );
    assert!(text.contains("host 1: nothing is wrong"), "{text}");
}

#[test]
fn each_fault_is_named_before_anything_starts() {
    let appliance = |more: Value| {
        let mut all = json!({ "image": "image", "links": [{ "dgram": { "local": "a", "remote": "b" } }] });
        more.as_object().unwrap().iter().for_each(|(name, value)| all[name.as_str()] = value.clone());
        all
    };
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("/host", json!(9), &["host is 9", "has no host with this number", "add the host"]),
        ("/host", json!("one"), &["\"host\":\"one\"", "expected u8", "correct that line"]),
        ("/hosts", json!(1), &["unknown field `hosts`", "correct that line"]),
        ("/config", json!("nowhere.json"), &["nowhere.json: it cannot be read"]),
        ("/qemu", json!("/no/qemu"), &["qemu is /no/qemu", "no program that can be executed", "install it"]),
        ("/boot_id", json!("cluster.json"), &["boot_id is ", "is no UUID"]),
        (
            "/nodes/1",
            json!({ "id": 1 }),
            &["nodes[1].id is 1: this node is described twice", "nodes is without node 2"],
        ),
        ("/nodes/1", json!({ "id": 7 }), &["nodes[1].id is 7", "places no such node on host 1"]),
        ("/nodes/0/memory_mib", json!(1), &["nodes[0].memory_mib is 1", "at least 16 MiB", "256"]),
        ("/nodes/0/cpus", json!(0), &["nodes[0].cpus is 0"]),
        ("/nodes/0/kernel", json!("none"), &["nodes[0].kernel is ", "cannot be read", "correct the path"]),
        ("/nodes/0/nics", json!([{ "mac": "5", "netdev": { "user": {} } }]), &["nodes[0].nics[0].mac is 5"]),
        (
            "/nodes/0/extra",
            json!(["-daemonize"]),
            &["nodes[0].extra[0] is -daemonize", "parent of the VM", "remove it"],
        ),
        (
            "/nodes/0/disks",
            json!([{ "source": { "file": "host.json" }, "cache": "writeback", "aio": "native" }]),
            &["nodes[0].disks[0].aio is native", "needs a cache of `none`"],
        ),
        ("/appliance", json!({}), &["appliance.image is ", "cargo image"]),
        ("/appliance", appliance(json!({ "image": "text" })), &["appliance.image is ", "it is no ELF file"]),
        (
            "/appliance",
            appliance(json!({ "image": "faults" })),
            &["appliance.image is ", "`allow_faults`", "ordinary image"],
        ),
        ("/appliance", appliance(json!({ "memory_mib": 8 })), &["appliance.memory_mib is 8"]),
        ("/appliance", appliance(json!({ "links": [] })), &["appliance.links is 0 long", "equally long"]),
        ("/appliance", appliance(json!({ "management": { "user": {} } })), &["appliance.management is given"]),
    ];
    for (at, value, expected) in cases {
        let world = World::new("check-fault");
        world.write("image", "\x7fELF");
        world.write("text", "hello");
        world.write("faults", "\x7fELF...palisade-faults-image...");
        let mut described = host();
        let (parent, name) = at.rsplit_once('/').unwrap();
        match described.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
            other => other[name] = value,
        }
        world.write("host.json", &described.to_string());
        for verb in ["check", "run"] {
            let (status, text) = said(&world, verb);
            assert_eq!(status, 78, "{at}: {text}");
            for part in expected {
                assert!(text.contains(part), "{at}: {part:?} is not in {text}");
            }
        }
        assert!(!world.state("").exists(), "nothing was started");
    }
}

#[test]
fn a_bad_cluster_configuration_is_found_by_the_guard() {
    let world = World::new("check-config");
    let mut bad = cluster();
    bad["secret"] = json!("00".repeat(32));
    world.write("cluster.json", &bad.to_string());
    let (status, text) = said(&world, "run");
    assert_eq!(status, 78);
    assert!(text.contains("cluster.json: secret is all zero"), "{text}");
}

#[test]
fn the_faults_image_passes_where_the_configuration_allows_it() {
    let world = World::new("check-faults");
    world.write("faults", "\x7fELF...palisade-faults-image...");
    let mut described = host();
    described["appliance"] = json!({ "image": "faults", "links": [{ "dgram": { "local": "a", "remote": "b" } }] });
    world.write("host.json", &described.to_string());
    let mut allowing = cluster();
    allowing["allow_faults"] = json!(true);
    world.write("cluster.json", &allowing.to_string());
    let (status, text) = said(&world, "check");
    assert_eq!(status, 0, "{text}");
}
