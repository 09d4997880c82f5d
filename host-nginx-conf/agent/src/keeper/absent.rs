//! Keys of which something is remembered and which the enclave does not list: a part of [`keeper.json`](super::memory).
//!
//! One that is stored and that AWS does not open today comes back, and whatever was to be done with it is to be done still. Which keys a
//! stored name has is not known before it is open. So nothing is forgotten while there is such a name, but for what is absent for long.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::keys::Keys;

/// By the key's id, since when it is absent, as counted.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Absent(BTreeMap<String, u64>);

/// The keys of which nothing is forgotten.
pub(super) struct Kept<'a> {
    listed: BTreeSet<String>,
    absent: &'a Absent,
}

impl Absent {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks which of the `remembered` are there. Whether others are absent than before.
    pub(super) fn look<'a>(
        &mut self,
        remembered: impl Iterator<Item = &'a String>,
        listed: &BTreeSet<String>,
        may_come: bool,
        now: u64,
    ) -> bool {
        let before = std::mem::take(&mut self.0);
        if may_come {
            let absent = remembered.filter(|id| !listed.contains(*id));
            let since = absent.map(|id| (id.clone(), before.get(id).copied().unwrap_or(now)));
            self.0 = since
                .filter(|(_, since)| now.saturating_sub(*since) < AT_MOST)
                .collect();
        }
        self.0 != before
    }

    pub(super) fn and(&self, listed: BTreeSet<String>) -> Kept<'_> {
        Kept { listed, absent: self }
    }
}

impl Kept<'_> {
    /// Whether what is of this key stays.
    pub(super) fn has(&self, id: &str) -> bool {
        self.is_listed(id) || self.absent.0.contains_key(id)
    }

    /// Whether the enclave has it.
    pub(super) fn is_listed(&self, id: &str) -> bool {
        self.listed.contains(id)
    }
}

/// The ids of all keys.
pub(super) fn ids(keys: &Keys) -> BTreeSet<String> {
    keys.all().map(|key| key.id.to_string()).collect()
}

/// Seconds: thirty days. A file that nobody can open is no reason to remember everything for ever.
const AT_MOST: u64 = 2_592_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_back_is_kept_for_thirty_days_and_counted_from_when_it_left() {
        let (gone, here) = ("aa".to_owned(), "bb".to_owned());
        let listed = || BTreeSet::from(["bb".to_owned()]);
        let mut absent = Absent::default();
        let mut look = |may_come, now| {
            let is_news = absent.look([&gone, &here].into_iter(), &listed(), may_come, now);
            let kept = absent.and(listed());
            assert!(kept.has("bb") && kept.is_listed("bb") && !kept.is_listed("aa"));
            (is_news, kept.has("aa"))
        };
        assert_eq!(look(false, 0), (false, false));
        assert_eq!(look(true, 100), (true, true));
        assert_eq!(look(true, 100 + AT_MOST - 1), (false, true));
        assert_eq!(look(true, 100 + AT_MOST), (true, false));
        assert_eq!(look(true, 200), (true, true));
        assert_eq!(look(false, 201), (true, false), "all is open, and it is not there");
    }
}
