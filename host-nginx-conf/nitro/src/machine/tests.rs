//! Instances made of files.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::enclave::{Enclave, Flags, State};

#[test]
fn an_instance_that_is_set_up_has_nothing_to_be_done() {
    let machine = Machine::new("good");
    let findings = machine.check(&wanted(&machine), None);
    let bad: Vec<String> = findings
        .iter()
        .filter(|one| one.level == Level::Bad)
        .map(Finding::to_string)
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn each_fault_is_found_with_its_edit_and_its_command() {
    type Break = fn(&Machine);
    let cases: [(&str, Break, &str); 12] = [
        (
            "few CPUs reserved",
            |m| m.put(ALLOCATOR, "memory_mib: 512\ncpu_count: 1"),
            "set cpu_count: 2",
        ),
        (
            "little memory reserved",
            |m| m.put(ALLOCATOR, "memory_mib: 64\ncpu_count: 2"),
            "set memory_mib: 512 in /etc/nitro_enclaves/allocator.yaml, then run: systemctl restart nitro-enclaves-allocator.service",
        ),
        (
            "allocator broken",
            |m| m.put(ALLOCATOR, "memory_mib: x"),
            "line 1: memory_mib is no number",
        ),
        (
            "allocator missing",
            |m| m.remove(ALLOCATOR),
            "dnf install aws-nitro-enclaves-cli",
        ),
        ("pages in use", |m| m.put(FREE, "10"), "set memory_mib: 620"),
        ("no device", |m| m.remove("dev/nitro_enclaves"), "udevadm"),
        (
            "no driver",
            |m| {
                m.remove("dev/nitro_enclaves");
                m.remove("sys/module");
            },
            "launch the instance with enclaves enabled",
        ),
        ("pool empty", |m| m.put(POOL, "\n"), "set cpu_count: 2"),
        (
            "half a core",
            |m| m.put(SIBLINGS, "0-3"),
            "set cpus = 4 under [enclave]",
        ),
        (
            "not a member",
            |m| m.put("etc/group", &m.group("")),
            "usermod -aG ne enclave-tls",
        ),
        ("no group", |m| m.put("etc/group", "root:x:0:"), "there is no group ne"),
        ("no image", |m| m.remove("lab.eif"), "correct image under [enclave]"),
    ];
    for (index, (name, spoil, wanted_text)) in cases.into_iter().enumerate() {
        let machine = Machine::new(&format!("bad-{index}"));
        spoil(&machine);
        let findings = machine.check(&wanted(&machine), None);
        let bad: Vec<String> = findings
            .iter()
            .filter(|one| one.level == Level::Bad)
            .map(Finding::to_string)
            .collect();
        assert!(bad.iter().any(|text| text.contains(wanted_text)), "{name}: {bad:?}");
        assert!(
            findings
                .iter()
                .all(|one| (one.level == Level::Good) == one.remedy.is_none())
        );
    }
}

#[test]
fn an_enclave_that_runs_has_what_it_needs() {
    let machine = Machine::new("runs");
    machine.put(FREE, "0");
    machine.put(POOL, "\n");
    let described = Description {
        enclaves: vec![enclave("enclave-tls", 16)],
        incomplete: None,
    };
    let findings = machine.check(&wanted(&machine), Some(&described));
    assert!(findings.iter().all(|one| one.level != Level::Bad), "{findings:?}");
}

#[test]
fn places_and_cids_are_counted() {
    let machine = Machine::new("places");
    let check = |enclaves: Vec<Enclave>| {
        let described = Description {
            enclaves,
            incomplete: None,
        };
        machine.check(&wanted(&machine), Some(&described)).pop().unwrap()
    };
    let four = || (20..24).map(|cid| enclave(&format!("other-{cid}"), cid));
    assert_eq!(check(four().collect()).level, Level::Bad);
    assert_eq!(check(four().take(3).collect()).level, Level::Good);
    assert!(
        check(vec![enclave("other", 16)])
            .to_string()
            .contains("set another cid")
    );
}

#[test]
fn this_machine_is_read_without_harm() {
    let options = RunOptions {
        image: "/nonexistent.eif".into(),
        name: "e".into(),
        cid: 16,
        cpus: 2,
        memory_mib: 128,
    };
    let findings = check(&Root::default(), &options, None, &Person("root".into()));
    assert!(findings.iter().any(|one| one.level == Level::Bad));
}

const ALLOCATOR: &str = "etc/nitro_enclaves/allocator.yaml";
const POOL: &str = "sys/module/nitro_enclaves/parameters/ne_cpus";
const SIBLINGS: &str = "sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
const FREE: &str = "sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages";

struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let machine = Self(crate::test_dir(&format!("machine-{name}")));
        for (file, text) in [
            (ALLOCATOR, "---\nmemory_mib: 512\ncpu_count: 2\n"),
            (POOL, "1,3\n"),
            (SIBLINGS, "0,2\n"),
            (FREE, "256\n"),
            (
                "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
                "256\n",
            ),
            (
                "sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages",
                "0\n",
            ),
            ("sys/devices/system/node/possible", "0\n"),
            (
                "etc/passwd",
                "root:x:0:0::/root:/bin/sh\nenclave-tls:x:990:990::/:/sbin/nologin\n",
            ),
            ("dev/nitro_enclaves", ""),
            ("lab.eif", "image"),
        ] {
            machine.put(file, text);
        }
        machine.put("etc/group", &machine.group("enclave-tls"));
        let device = machine.0.join("dev/nitro_enclaves");
        fs::set_permissions(device, std::os::unix::fs::PermissionsExt::from_mode(0o660)).unwrap();
        machine
    }

    fn put(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, file: &str) {
        let path = self.0.join(file);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }

    /// Files of a test belong to whoever runs it: its group is the group.
    fn group(&self, members: &str) -> String {
        let own = std::os::unix::fs::MetadataExt::gid(&fs::metadata(&self.0).unwrap());
        format!("daemon:x:1:\nne:x:{own}:{members}\n")
    }

    fn check(&self, wanted: &RunOptions, described: Option<&Description>) -> Vec<Finding> {
        check(&Root::new(&self.0), wanted, described, &Person("enclave-tls".into()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn wanted(machine: &Machine) -> RunOptions {
    RunOptions {
        image: machine.0.join("lab.eif"),
        name: "enclave-tls".into(),
        cid: 16,
        cpus: 2,
        memory_mib: 128,
    }
}

fn enclave(name: &str, cid: u32) -> Enclave {
    Enclave {
        name: Some(name.into()),
        id: format!("i-0-enc{cid}"),
        process: 7,
        cid,
        cpus: 2,
        cpu_ids: vec![1, 3],
        memory_mib: 128,
        state: State::Running,
        flags: Flags::None,
        measurements: None,
    }
}
