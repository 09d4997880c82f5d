//! Certificates that the enclave orders: when, how often, and what becomes of those that fail.

use std::collections::BTreeMap;

use enclave_wire::KeyId;
use enclave_wire::control::{JobError, JobFailure, Validity};

use super::ca::{Ca, failure};
use super::revoking::in_an_emergency;
use super::rotating::{outcomes, rotate};
use super::*;

/// Certificates c0000 and so on, of one account.
fn ordered(count: usize, account: &str) -> Config {
    parsed(&text(count, account))
}

pub(super) fn text(count: usize, account: &str) -> String {
    let one = |n: usize| {
        format!(
            "[[certificates]]\nname = \"c{n:04}\"\nsource = \"acme\"\naccount = \"ca\"\nkey_type = \"p-256\"\n\
             dns_names = [\"c{n}.example\"]\nservers = [\"main\"]\n"
        )
    };
    let certificates: String = (0..count).map(one).collect();
    format!(
        "[enclave]\nimage = \"/image.eif\"\n[aws]\n[egress]\nallow = [\"ca.example:443\"]\n[acme.ca]\n\
         directory = \"https://ca.example/dir\"\nterms_agreed = true\n{account}[clients.nginx]\ngroup = \"www-data\"\nrotate_days = 0\n\
         [servers.main]\nkind = \"nginx\"\nclient = \"nginx\"\n{certificates}"
    )
}

pub(super) fn parsed(text: &str) -> Config {
    Config::parse(text, Path::new("config.toml"))
        .map_err(|error| error.to_string())
        .unwrap()
}

pub(super) fn world(count: usize) -> World {
    let world = World::new(ordered(count, ""));
    world.enclave.state().ca = Ca::new(world.clock.clone());
    world
}

/// One whose CA says that it is to be asked again in three days, and not before.
pub(super) fn told_to_come_again() -> World {
    let world = world(1);
    let told = world.enclave.state().ca.now() + 3 * 86_400;
    world.enclave.state().ca.fails = Some(JobFailure {
        retry_at: Some(told),
        ..failure(JobError::RateLimited)
    });
    world
}

/// One whose account is sealed.
pub(super) fn sealed(count: usize) -> World {
    let world = World::new(ordered(count, "sealed = \"default\"\n"));
    world.enclave.state().ca = Ca::new(world.clock.clone());
    world
}

/// One in which each certificate has come.
pub(super) fn serving(count: usize) -> World {
    let mut world = world(count);
    for _ in 0..count / 8 + 4 {
        world.pass();
    }
    assert_eq!(orders(&world), count);
    for n in 0..count {
        assert_eq!(world.state_of(&format!("c{n:04}")).0, "served");
    }
    world
}

pub(super) fn orders(world: &World) -> usize {
    world.enclave.state().ca.orders.len()
}

/// Lets time pass in larger steps than the keeper takes by itself.
pub(super) fn skip(world: &mut World, time: Duration, step: Duration) {
    let until = world.clock.monotonic() + time;
    while world.clock.monotonic() < until {
        world.pass();
        world.clock.pass(step);
    }
}

fn generations(world: &World, name: &str) -> Vec<u32> {
    let keys = world.enclave.keys().unwrap();
    let mut its: Vec<_> = keys
        .iter()
        .filter(|key| key.name.as_str() == name)
        .map(|key| key.generation)
        .collect();
    its.sort_unstable();
    its
}

fn renewal(world: &World, name: &str) -> enclave_tls_admin::acme::Renewal {
    let found = world.keeper.found.lock();
    found
        .certificates
        .iter()
        .find(|one| one.name == name)
        .unwrap()
        .renewal
        .clone()
        .unwrap()
}

#[test]
fn an_account_is_made_and_registered_and_then_its_certificates_are_ordered_and_served() {
    let world = serving(2);
    assert_eq!(
        (world.asked("Create"), world.live("c0000"), world.live("c0001")),
        (3, Some(1), Some(1))
    );
    let accounts = world.keeper.found.lock().accounts.clone();
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0].url.as_deref(), Some("https://ca.example/account/1"));
    assert_eq!(
        (accounts[0].directory.as_str(), &accounts[0].problem),
        ("https://ca.example/dir", &None)
    );
    let renewal = renewal(&world, "c0000");
    assert_eq!(
        (renewal.account.as_str(), renewal.challenge.as_str(), renewal.failures),
        ("ca", "http-01", 0)
    );
    assert!(
        renewal.next.is_some()
            && renewal.last.is_some()
            && renewal.why.as_deref() == Some("two thirds of its lifetime")
    );
}

/// Nobody rings the bell for either, and the next look is half a minute away.
#[test]
fn an_accounts_key_and_a_renewal_that_is_due_are_gone_on_with_at_once() {
    let mut world = world(1);
    let wait = world.pass();
    assert_eq!(world.asked("Create"), 2);
    assert!(wait < Duration::from_secs(1), "{wait:?}");
    let mut world = serving(1);
    skip(&mut world, DAY, HOUR);
    let now = world.enclave.state().ca.now();
    world.enclave.state().ca.window = Some(Validity {
        not_before: now - 7_200,
        not_after: now - 3_600,
    });
    let asked = world.enclave.state().ca.asked.len();
    while world.enclave.state().ca.asked.len() == asked {
        world.clock.pass(MINUTE);
        world.pass();
    }
    // That the CA has answered rings it.
    let mut wait = world.pass();
    while orders(&world) == 1 {
        assert!(wait < Duration::from_secs(1), "{wait:?}");
        world.clock.pass(wait);
        wait = world.pass();
    }
}

#[test]
fn a_year_of_renewals_each_with_a_new_key_and_nothing_left_over() {
    let mut world = serving(1);
    skip(&mut world, DAY * 365, HOUR * 8);
    let count = orders(&world);
    assert!((6..=8).contains(&count), "{count} orders in a year, of 90 days");
    let its = generations(&world, "c0000");
    assert_eq!(its.last().copied(), u32::try_from(count).ok());
    assert!(its.len() <= 2, "{its:?}");
    assert_eq!(world.live("c0000"), its.last().copied());
    assert_eq!(world.state_of("c0000").0, "served");
    assert!(world.ends("c0000") > world.enclave.state().ca.now() + 30 * 86_400);
}

#[test]
fn threat_52_a_ca_that_is_away_for_days_costs_nothing_that_is_served_and_is_not_stormed() {
    let mut world = serving(1);
    skip(&mut world, DAY * 50, HOUR * 12);
    world.enclave.state().ca.fails = Some(failure(JobError::Unavailable));
    let before = orders(&world);
    skip(&mut world, DAY * 10, HOUR);
    skip(&mut world, DAY * 2, MINUTE * 10);
    let attempts = orders(&world) - before;
    assert!((24..=24 * 12 + 10).contains(&attempts), "{attempts} in twelve days");
    assert_eq!(
        (generations(&world, "c0000"), world.live("c0000")),
        (vec![1, 2], Some(1)),
        "no heap of keys"
    );
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("the CA does not answer") && note.contains("said the CA"),
        "{note}"
    );
    assert!(renewal(&world, "c0000").failures > 10);
    world.enclave.state().ca.fails = None;
    skip(&mut world, HOUR * 2, MINUTE * 5);
    assert_eq!(
        (world.live("c0000"), world.state_of("c0000").0.as_str()),
        (Some(2), "served")
    );
}

#[test]
fn threat_52_no_name_is_ordered_more_than_twice_a_minute_whatever_fails() {
    for error in [
        JobError::Unavailable,
        JobError::Challenge,
        JobError::Order,
        JobError::Service,
        JobError::Protocol,
    ] {
        let mut world = world(3);
        world.enclave.state().ca.fails = Some(failure(error));
        world.run(HOUR);
        let mut minutes = BTreeMap::<(KeyId, u64), u32>::new();
        for (at, key, _) in &world.enclave.state().ca.orders {
            *minutes.entry((*key, at.as_secs() / 60)).or_default() += 1;
        }
        assert!(!minutes.is_empty());
        assert!(minutes.values().all(|count| *count <= 2), "{error:?}: {minutes:?}");
        let in_an_hour = orders(&world) / 3;
        assert!(in_an_hour <= 7, "{error:?}: {in_an_hour} in the first hour");
    }
}

#[test]
fn threat_52_a_ca_that_says_when_to_come_again_is_not_asked_before() {
    let mut world = told_to_come_again();
    skip(&mut world, DAY * 3 - HOUR, HOUR);
    assert_eq!(orders(&world), 1);
    world.enclave.state().ca.fails = None;
    skip(&mut world, HOUR * 10, MINUTE * 10);
    assert_eq!((orders(&world), world.live("c0000")), (2, Some(1)));
}

#[test]
fn threat_52_nobody_passes_by_when_the_ca_said_to_come_again() {
    let mut world = told_to_come_again();
    world.run(MINUTE);
    let told = world.clock.now() + 3 * 86_400;
    let as_told = |changes: &[enclave_tls_admin::report::Change], outcome: &str| {
        assert_eq!(outcomes(changes), [("c0000", outcome)]);
        let says = &changes[0].says;
        assert!(says.contains("the CA asked to come again then"), "{says}");
        let off = changes[0].due.unwrap() - told;
        assert!((-120..=0).contains(&off), "{off} s off");
    };
    as_told(&rotate(&mut world, |rotate| rotate.dry_run = true), "waits");
    as_told(&rotate(&mut world, |_| ()), "waits");
    as_told(&rotate(&mut world, |rotate| rotate.now = true), "waits");
    as_told(
        &rotate(&mut world, |rotate| (rotate.certificate, rotate.now) = (None, true)),
        "waits",
    );
    // Another key is another's in nothing that the CA counts, nor is another text of the configuration.
    as_told(&rotate(&mut world, in_an_emergency), "made");
    world.config = ordered(1, "contacts = [\"mailto:a@b.example\"]\n");
    world.restart_agent();
    skip(&mut world, DAY * 3 - HOUR, HOUR);
    assert_eq!(orders(&world), 1);
    world.enclave.state().ca.fails = None;
    world.run(HOUR * 2);
    // Beside the new key's, the order from before is looked at again, which orders nothing.
    let new = world
        .enclave
        .state()
        .ca
        .orders
        .iter()
        .filter(|(.., resumed)| resumed.is_none())
        .count();
    assert_eq!((new, orders(&world), world.live("c0000")), (2, 3, Some(2)));
}

#[test]
fn threat_52_keys_that_wait_are_ordered_for_one_after_another_when_all_are_asked_for() {
    let mut world = world(5);
    world.enclave.state().ca.fails = Some(failure(JobError::Challenge));
    world.run(HOUR * 8);
    world.enclave.state().ca.orders.clear();
    let begun = world.clock.monotonic();
    let all = rotate(&mut world, |rotate| rotate.certificate = None);
    assert!(all.iter().all(|one| one.outcome == "waits"), "{all:?}");
    assert_eq!(all.iter().filter(|one| one.due.is_none()).count(), 1, "{all:?}");
    assert!(all[1].says.contains("waits for its turn"), "{}", all[1].says);
    world.run(MINUTE * 4);
    let at: Vec<_> = world.enclave.state().ca.orders.iter().map(|(at, ..)| *at).collect();
    assert_eq!(at.len(), 5, "each once: {at:?}");
    for (turn, at) in (0..).zip(&at) {
        let waits = *at - begun + Duration::from_secs(1);
        assert!(waits >= Duration::from_secs(30) * turn, "turn {turn}: {at:?}");
    }
    // One alone, whose cause somebody has mended, waits for nothing; nor do all of them with `--now`.
    rotate(&mut world, |rotate| rotate.certificate = Some("c0003".to_owned()));
    assert_eq!(orders(&world), 6);
    world.run(MINUTE);
    rotate(&mut world, |rotate| (rotate.certificate, rotate.now) = (None, true));
    assert_eq!(orders(&world), 11);
}

#[test]
fn contacts_that_were_changed_are_told_to_the_ca_once() {
    let mut world = serving(1);
    world.enclave.state().ca.accounts.clear();
    world.config = ordered(1, "contacts = [\"mailto:new@b.example\"]\n");
    world.run(HOUR);
    assert_eq!(world.enclave.state().ca.accounts, [["mailto:new@b.example"]]);
    // Whether the CA has them already only the CA knows, should they have been changed meanwhile.
    world.restart_agent();
    world.run(HOUR);
    assert_eq!(world.enclave.state().ca.accounts.len(), 2);
    assert_eq!(orders(&world), 1);
}

#[test]
fn threat_52_one_bad_certificate_holds_up_no_other() {
    let mut world = world(4);
    world.enclave.state().ca.only.insert("c0001".to_owned());
    world.enclave.state().ca.fails = Some(failure(JobError::Challenge));
    world.run(HOUR);
    for (name, state) in [
        ("c0000", "served"),
        ("c0001", "failed"),
        ("c0002", "served"),
        ("c0003", "served"),
    ] {
        assert_eq!(world.state_of(name).0, state, "{name}");
    }
    assert!(world.state_of("c0001").1.contains("did not find the proof"));
}

#[test]
fn threat_52_many_that_came_together_are_renewed_apart_and_not_all_at_once() {
    let mut world = serving(60);
    world.enclave.state().ca.takes = MINUTE * 20;
    world.enclave.state().ca.orders.clear();
    skip(&mut world, DAY * 51, DAY);
    skip(&mut world, DAY * 11, HOUR);
    let mut hours = BTreeMap::<u64, u32>::new();
    for (at, ..) in &world.enclave.state().ca.orders {
        *hours.entry(at.as_secs() / 3_600).or_default() += 1;
    }
    assert_eq!(orders(&world), 60);
    assert!(hours.len() > 30 && hours.values().all(|count| *count <= 8), "{hours:?}");
    assert!(world.enclave.state().ca.most_at_once <= 16);
}

#[test]
fn an_agent_that_is_killed_and_an_enclave_that_is_restarted_finish_the_same_order() {
    let mut world = world(1);
    world.enclave.state().ca.takes = MINUTE * 5;
    world.run(MINUTE);
    assert_eq!(orders(&world), 1);
    world.restart_agent();
    world.run(MINUTE);
    assert_eq!(orders(&world), 1, "it is still under way");
    world.enclave.state().forget_jobs();
    world.run(MINUTE);
    let again = world.enclave.state().ca.orders.clone();
    assert_eq!(again.len(), 2);
    assert_eq!(
        again[1].2.as_ref().map(|url| url.as_str()),
        Some("https://ca.example/order/1"),
        "by its URL"
    );
    world.restart_agent();
    world.run(MINUTE * 6);
    assert_eq!((orders(&world), world.live("c0000")), (2, Some(1)));
}

#[test]
fn the_cas_window_decides_and_it_is_asked_about_twice_a_day() {
    let mut world = serving(1);
    skip(&mut world, DAY * 5, HOUR);
    let asked = world.enclave.state().ca.asked.len();
    assert!((9..=12).contains(&asked), "{asked}");
    assert_eq!(orders(&world), 1);
    let now = world.enclave.state().ca.now();
    world.enclave.state().ca.window = Some(Validity {
        not_before: now - 7_200,
        not_after: now - 3_600,
    });
    skip(&mut world, HOUR * 13, MINUTE * 10);
    assert_eq!(orders(&world), 2, "a window in the past means now");
    skip(&mut world, DAY * 4, HOUR);
    let count = orders(&world);
    assert!(
        (3..=2 + 5).contains(&count),
        "a CA that says so for ever: {count} in four days"
    );
}

#[test]
fn threat_18_renewals_go_by_the_enclaves_time_whatever_the_parents_clock_is_set_to() {
    let mut world = serving(1);
    for years in [10, -20, 11] {
        world.clock.set(years * 365 * 86_400);
        world.run(HOUR);
        world.restart_agent();
        world.run(HOUR);
    }
    assert_eq!(orders(&world), 1);
    skip(&mut world, DAY * 62, HOUR * 12);
    assert_eq!(orders(&world), 2);
}

#[test]
fn a_configuration_that_is_mended_is_tried_at_once() {
    let mut world = world(1);
    world.enclave.state().ca.fails = Some(failure(JobError::Order));
    world.run(HOUR * 8);
    world.enclave.state().ca.fails = None;
    let before = orders(&world);
    let mended = ordered(1, "").accounts;
    assert_eq!(mended, world.config.accounts);
    world.config = ordered(1, "contacts = [\"mailto:a@b.example\"]\n");
    world.pass();
    world.pass();
    assert_eq!(orders(&world), before + 1);
}

#[test]
fn an_account_that_is_refused_holds_its_orders_back() {
    let mut world = world(2);
    world.enclave.state().ca.refuses_accounts = Some(failure(JobError::Account));
    world.run(HOUR * 4);
    assert_eq!(orders(&world), 0, "each would be refused, and counted");
    let account = world.keeper.found.lock().accounts[0].clone();
    assert!(account.problem.unwrap().contains("refuses the account"));
    assert!(world.asked("Begin") <= 8);
    world.enclave.state().ca.refuses_accounts = None;
    world.run(HOUR * 6);
    assert_eq!((orders(&world), world.live("c0001")), (2, Some(1)));
}

#[test]
fn the_file_of_a_binding_is_read_and_must_be_of_the_accounts_directory() {
    let directory = Directory::new();
    let file = directory.path().join("eab.json");
    let account = format!("eab = \"{}\"\n", file.display());
    let mut world = World::new(ordered(1, &account));
    world.enclave.state().ca = Ca::new(world.clock.clone());
    let problem = |world: &mut World| {
        world.run(MINUTE);
        world.keeper.found.lock().accounts[0]
            .problem
            .clone()
            .unwrap_or_default()
    };
    assert!(problem(&mut world).contains("No such file"));
    let text = |directory: &str| {
        format!(
            "{{\"kid\":\"k\",\"directory\":\"{directory}\",\"kms_key\":\"arn:aws:kms:us-east-1:111122223333:key/1\",\"ciphertext\":\"AQID\"}}"
        )
    };
    std::fs::write(&file, text("https://other.example/dir")).unwrap();
    let said = problem(&mut world);
    assert!(said.contains("it is for https://other.example/dir"), "{said}");
    assert_eq!(world.asked("Begin"), 0);
    std::fs::write(&file, text("https://ca.example/dir")).unwrap();
    assert_eq!(problem(&mut world), "");
    world.run(MINUTE);
    assert_eq!(world.live("c0000"), Some(1));
}

#[test]
fn an_answer_that_nobody_waits_for_keeps_nobody_from_asking_when_to_renew() {
    let mut world = world(5);
    world.enclave.state().ca.slow_renewals = true;
    world.run(MINUTE * 2);
    let asked = |world: &World| world.enclave.state().ca.asked.len();
    assert_eq!(asked(&world), 4, "of five, as many as are asked about at once");
    rotate(&mut world, |all| (all.certificate, all.now) = (None, true));
    world.enclave.state().ca.slow_renewals = false;
    world.run(MINUTE * 2);
    assert_eq!((world.live("c0000"), asked(&world)), (Some(2), 4 + 5));
}

#[test]
fn an_account_that_is_stored_and_not_open_is_not_made_again() {
    let mut world = sealed(1);
    world
        .enclave
        .state()
        .not_open
        .insert("ca".parse().unwrap(), "KMS is away".to_owned());
    world.run(HOUR);
    assert_eq!(world.key("ca", 1), None);
    assert!(
        world.keeper.found.lock().accounts[0]
            .problem
            .clone()
            .unwrap()
            .contains("KMS is away")
    );
    world.enclave.state().not_open.clear();
    world.run(MINUTE * 2);
    assert_eq!(world.live("c0000"), Some(1));
}
