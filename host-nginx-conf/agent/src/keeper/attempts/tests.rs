use super::*;

const NOW: i64 = 1_800_000_000;

fn failure(error: JobError, retry_at: Option<i64>) -> JobFailure {
    JobFailure {
        error,
        rule: None,
        detail: Text::lossy("no"),
        retry_at,
    }
}

/// How long each of these attempts waits.
fn waits(failures: &[JobFailure]) -> Vec<u64> {
    let (mut attempts, id) = (Attempts::default(), KeyId([7; 32]));
    let waits = failures.iter().map(|failure| {
        attempts.began(id, "a", None);
        attempts.failed(id, failure, 1_000, NOW);
        attempts.of(id).unwrap().not_before - 1_000
    });
    waits.collect()
}

#[test]
fn threat_52_waits_grow_and_what_a_ca_counts_waits_longer() {
    let unavailable = vec![failure(JobError::Unavailable, None); 10];
    let minutes: Vec<_> = waits(&unavailable).into_iter().map(|wait| wait / 60).collect();
    let least = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60];
    let fits = |(minutes, least): (&u64, u64)| (least..=least * 11 / 10).contains(minutes);
    assert!(minutes.iter().zip(least).all(fits), "{minutes:?}");
    let refused = waits(&vec![failure(JobError::Challenge, None); 8]);
    assert!(
        refused[0] >= 900 && refused[7] >= 21_600 && refused[7] <= 23_760,
        "{refused:?}"
    );
    let most = waits(&vec![failure(JobError::Unavailable, None); 100]);
    assert!(most[99] <= 3_960);
}

#[test]
fn threat_52_a_ca_that_says_when_to_come_again_is_believed_for_a_week() {
    assert!(waits(&[failure(JobError::RateLimited, Some(NOW + 86_400))])[0] >= 86_400);
    assert!(waits(&[failure(JobError::RateLimited, Some(i64::MAX))])[0] <= 604_800 * 11 / 10);
    assert!(waits(&[failure(JobError::RateLimited, Some(NOW - 86_400))])[0] >= 900);
    assert!(waits(&[failure(JobError::Unavailable, Some(i64::MIN))])[0] >= 60);
}

#[test]
fn another_configuration_is_tried_at_once() {
    let (mut attempts, id) = (Attempts::default(), KeyId([7; 32]));
    assert!(!attempts.is_early(id, "a", 0));
    attempts.began(id, "a", None);
    attempts.failed(id, &failure(JobError::Order, None), 1_000, NOW);
    assert!(attempts.is_early(id, "a", 1_000) && !attempts.is_early(id, "b", 1_000));
    attempts.hurry(id, 1_030);
    assert!(attempts.is_early(id, "a", 1_029) && !attempts.is_early(id, "a", 1_030));
    attempts.hurry(id, 2_000);
    assert!(
        !attempts.is_early(id, "a", 1_030),
        "nobody waits longer for having been asked"
    );
}

#[test]
fn threat_52_what_a_ca_said_holds_for_its_directory_and_this_name_whatever_the_key() {
    let name = |text: &str| -> Name { text.parse().unwrap() };
    let (mut attempts, www, ca, other) = (
        Attempts::default(),
        name("www"),
        Text::lossy("https://ca.example/dir"),
        Text::lossy("https://other.example/dir"),
    );
    let limited = failure(JobError::RateLimited, Some(NOW + 600));
    attempts.told(&www, &ca, &limited, 1_000, NOW);
    assert_eq!(attempts.told_until(&www, &ca, 1_599), Some(1_600));
    assert_eq!(attempts.told_until(&www, &ca, 1_600), None);
    assert_eq!(attempts.told_until(&www, &other, 1_000), None);
    assert_eq!(attempts.told_until(&name("shop"), &ca, 1_000), None);
    attempts.told(&name("shop"), &ca, &failure(JobError::Order, None), 1_000, NOW);
    assert_eq!(attempts.told_until(&name("shop"), &ca, 1_000), None, "it said nothing");
    attempts.has_come(KeyId([7; 32]), "www", NOW, 1_000);
    assert_eq!(attempts.told_until(&www, &ca, 1_000), None);
}

#[test]
fn an_order_is_resumed_where_that_may_help() {
    let (mut attempts, id, url) = (
        Attempts::default(),
        KeyId([7; 32]),
        Text::lossy("https://ca.example/order/1"),
    );
    let by = |directory: &str| By {
        key: "aa".to_owned(),
        directory: directory.to_owned(),
    };
    let (its, other) = (by("https://ca.example/dir"), by("https://ca.example/staging"));
    attempts.began(id, "a", Some(its.clone()));
    assert!(attempts.is_at(id, &url) && !attempts.is_at(id, &url));
    attempts.failed(id, &failure(JobError::Deadline, None), 0, NOW);
    assert_eq!(attempts.url(id, &its), Some(url.clone()));
    assert_eq!(attempts.url(id, &other), None, "another CA has no such order");
    let text = serde_json::to_string(&attempts).unwrap();
    assert_eq!(
        serde_json::from_str::<Attempts>(&text).unwrap(),
        attempts,
        "over a restart too"
    );
    attempts.failed(id, &failure(JobError::Challenge, None), 0, NOW);
    assert_eq!(attempts.url(id, &its), None);
    attempts.is_at(id, &url);
    attempts.began(id, "b", Some(other.clone()));
    assert_eq!((attempts.url(id, &its), attempts.url(id, &other)), (None, None));
}

#[test]
fn the_ca_is_asked_when_it_says_so_within_reason() {
    let (mut attempts, id) = (Attempts::default(), KeyId([7; 32]));
    assert!(attempts.is_to_be_asked(id, 0));
    let window = Some(Validity {
        not_before: 1,
        not_after: 2,
    });
    let said = |ask_again_s| RenewalWindow {
        window,
        explanation: None,
        ask_again_s,
    };
    for (ask_again_s, early, late) in [(0, 59, 67), (21_600, 21_599, 23_761), (u32::MAX, 86_399, 95_041)] {
        attempts.said(id, Ok(&said(ask_again_s)), 0);
        assert!(
            !attempts.is_to_be_asked(id, early) && attempts.is_to_be_asked(id, late),
            "{ask_again_s}"
        );
    }
    attempts.said(id, Err(0), 0);
    assert_eq!(attempts.window(id), window, "what it said before stays");
    assert!(!attempts.is_to_be_asked(id, 3_599) && attempts.is_to_be_asked(id, 3_961));
    attempts.said(id, Err(86_400), 0);
    assert!(
        !attempts.is_to_be_asked(id, 86_399),
        "it said when to come again, of this too"
    );
}
