//! CAA records, over DNS over HTTPS that ends in the service.

use enclave_wire::control::{Caa, CaaFinding, CaaVerdict, Job, JobError};
use lab_pebble::Options;

use super::*;

/// The records that pin an account are those that name its URL, which the enclave alone finds by its key.
#[test]
fn threat_54_records_are_found_by_climbing_and_judged_for_the_account() {
    let Some(ca) = Ca::start("caa", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let names = [
        "www.pinned.test",
        "*.pinned.test",
        "a.open.test",
        "b.others.test",
        "any.test",
    ];
    let names: Vec<DnsName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let job = Job::Caa(Caa {
        account: ca.account(account),
        names: names.try_into().unwrap(),
    });
    let refused = run(&mut lab, job.clone()).unwrap_err();
    assert_eq!(refused.error, JobError::Account, "there is no account yet");
    let url = match run(&mut lab, Job::Account(ca.account(account))) {
        Ok(JobOutcome::Account(url)) => url.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    let pinned = format!("{IDENTITY}; accounturi={url}");
    for (zone, records) in [
        (
            "pinned.test",
            [("issue", pinned.as_str()), ("iodef", "mailto:a@b.test")],
        ),
        ("open.test", [("issue", IDENTITY), ("iodef", "mailto:a@b.test")]),
        ("others.test", [("issue", "else.test"), ("issuewild", ";")]),
    ] {
        ca.pebble.add_caa(zone, &records).unwrap();
    }
    let found = match run(&mut lab, job) {
        Ok(JobOutcome::Caa(found)) => found.into_items(),
        other => panic!("{other:?}"),
    };
    let shown = |finding: &CaaFinding| (finding.verdict, finding.records.as_str().to_owned());
    let of_pinned = format!("pinned.test: 0 issue \"{pinned}\", 0 iodef \"mailto:a@b.test\"");
    let of_open = format!("open.test: 0 issue \"{IDENTITY}\", 0 iodef \"mailto:a@b.test\"");
    let of_others = "others.test: 0 issue \"else.test\", 0 issuewild \";\"".to_owned();
    assert_eq!(
        found.iter().map(shown).collect::<Vec<_>>(),
        [
            (CaaVerdict::Pinned, of_pinned.clone()),
            (CaaVerdict::Pinned, of_pinned),
            (CaaVerdict::NotPinned, of_open),
            (CaaVerdict::Refused, of_others),
            (CaaVerdict::Open, "no records, here or above".to_owned()),
        ]
    );
}

/// What pebble calls itself in records.
const IDENTITY: &str = "pebble.letsencrypt.org";
