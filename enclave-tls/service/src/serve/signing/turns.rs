//! A queue in which clients take turns: each waits behind at most one of every other's, however many those have here.

use std::collections::VecDeque;

/// What waits, in a line for each client. No line is empty; the first is the next one's.
pub(super) struct Turns<C, T>(VecDeque<(C, VecDeque<T>)>);

impl<C, T> Default for Turns<C, T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<C: PartialEq + Clone, T> Turns<C, T> {
    /// How many of this client's wait.
    pub(super) fn of(&self, client: &C) -> usize {
        let mut lines = self.0.iter();
        lines.find(|(of, _)| of == client).map_or(0, |(_, line)| line.len())
    }

    /// How many of this client's may wait, where `all` places are shared by those who have some and this one.
    pub(super) fn share(&self, client: &C, all: usize) -> usize {
        let others = self.0.iter().filter(|(of, _)| of != client).count();
        all.div_euclid(others.saturating_add(1)).max(1)
    }

    /// The last in its client's line.
    pub(super) fn push(&mut self, client: &C, what: T) {
        match self.0.iter_mut().find(|(of, _)| of == client) {
            Some((_, line)) => line.push_back(what),
            None => self.0.push_back((client.clone(), VecDeque::from([what]))),
        }
    }

    /// The first of the client whose turn it is, and then it is the next one's.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (client, mut line) = self.0.pop_front()?;
        let what = line.pop_front();
        if !line.is_empty() {
            self.0.push_back((client, line));
        }
        what
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(what: &[(char, u8)]) -> Turns<char, u8> {
        let mut turns = Turns::default();
        for (client, what) in what {
            turns.push(client, *what);
        }
        turns
    }

    fn all(turns: &mut Turns<char, u8>) -> Vec<u8> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn threat_50_a_client_waits_behind_one_of_each_other_client() {
        let mut turns = pushed(&[('a', 1), ('a', 2), ('a', 3), ('b', 10), ('c', 20), ('b', 11)]);
        assert_eq!(all(&mut turns), [1, 10, 20, 2, 11, 3]);
        assert!(turns.is_empty());
    }

    #[test]
    fn who_comes_again_waits_behind_who_is_there() {
        let mut turns = pushed(&[('a', 1), ('b', 10), ('b', 11)]);
        assert_eq!(turns.pop(), Some(1));
        turns.push(&'a', 2);
        assert_eq!(all(&mut turns), [10, 2, 11]);
    }

    #[test]
    fn clients_share_the_places() {
        let turns = pushed(&[('a', 1), ('a', 2), ('b', 10)]);
        assert_eq!(Turns::<char, u8>::default().share(&'a', 8), 8);
        assert_eq!((turns.share(&'a', 8), turns.share(&'c', 8)), (4, 2));
        assert_eq!(turns.share(&'c', 2), 1, "nobody is without one");
    }

    #[test]
    fn each_client_has_a_count_of_its_own() {
        let mut turns = pushed(&[('a', 1), ('b', 10), ('a', 2)]);
        assert_eq!((turns.of(&'a'), turns.of(&'b'), turns.of(&'c')), (2, 1, 0));
        turns.pop();
        assert_eq!(turns.of(&'a'), 1);
    }
}
