use enclave_wire::address::Address;

use super::*;
use crate::tree::Tree;

const SOURCE: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";

fn machine(tree: &Tree) -> Machine {
    Machine {
        root: tree.root().to_owned(),
        ..Machine::enclave()
    }
}

fn policy(any_source: bool) -> Policy {
    let text = format!("version = 1\nimports = false\n[keys]\n[clock]\nany_source = {any_source}\n");
    Policy::parse(text.as_bytes()).unwrap()
}

fn check(tree: &Tree, any_source: bool) -> Result<(), Refusal> {
    check_clock(&machine(tree), &policy(any_source), &mut Logs::new(Instant::now()))
}

#[test]
fn threat_16_another_clock_passes_only_where_the_policy_says_so() {
    let tree = Tree::new("clock");
    tree.write(SOURCE, b"tsc\n");
    check(&tree, true).unwrap();
    let begun = Instant::now();
    let refused = check(&tree, false).unwrap_err();
    assert!(
        matches!(&refused, Refusal::Clock(source) if source == "tsc"),
        "{refused}"
    );
    assert!(begun.elapsed() >= CLOCK_PATIENCE, "it was waited for");
    tree.write(SOURCE, b"kvm-clock\n");
    check(&tree, false).unwrap();
}

#[test]
fn threat_16_the_kernel_has_3_seconds_to_settle() {
    let tree = Tree::new("settles");
    tree.write(SOURCE, b"refined-jiffies\n");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            tree.write(SOURCE, b"kvm-clock\n");
        });
        check(&tree, false).unwrap();
    });
}

#[test]
fn threat_16_a_machine_that_does_not_tell_is_refused() {
    let tree = Tree::new("tells");
    assert!(matches!(check(&tree, true), Err(Refusal::Machine(..))));
}

#[test]
fn the_parent_is_whom_the_command_line_names() {
    let tree = Tree::new("cmdline");
    let image = include_str!("../../../../packaging/eif/command-line");
    tree.write(
        "proc/cmdline",
        format!("{} parent_cid=2 reboot=t\n", image.trim_end()).as_bytes(),
    );
    let line = |tree: &Tree| CommandLine::parse(&read_command_line(&machine(tree)).unwrap());
    let planes = (Machine::enclave().planes)(line(&tree).unwrap().parent_cid);
    assert_eq!(
        planes.control,
        Address::Vsock {
            cid: Some(2),
            port: 440
        }
    );
    tree.write("proc/cmdline", b"parent_cud=2");
    assert!(line(&tree).is_err());
}
