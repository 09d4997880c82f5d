//! The pages of all targets, each content once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Found, WindowSearch};

/// Contents of pages, with the places that have them. A content is a page and the first bytes of the one behind it, so
/// that a window that begins in the page is whole.
pub(super) struct Pages {
    overlap: usize,
    places: HashMap<Vec<u8>, Vec<PagePlace>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PagePlace {
    pub(super) target: usize,
    pub(super) address: u64,
}

impl Pages {
    pub(super) fn new(overlap: usize) -> Self {
        Self {
            overlap,
            places: HashMap::new(),
        }
    }

    /// Adds a contiguous stretch of a target.
    pub(super) fn add(&mut self, target: usize, start: u64, bytes: &[u8]) {
        for (address, begin) in (start..).step_by(PAGE).zip((0..bytes.len()).step_by(PAGE)) {
            let content = &bytes[begin..bytes.len().min(begin + PAGE + self.overlap)];
            let place = PagePlace { target, address };
            match self.places.get_mut(content) {
                Some(places) => places.push(place),
                None => {
                    self.places.insert(content.to_vec(), vec![place]);
                }
            }
        }
    }

    /// Runs every search over every content, on all cores, and tells what was found once for each place.
    pub(super) fn search(&self, searches: &[Box<dyn WindowSearch>], mut tell: impl FnMut(PagePlace, Found)) {
        let contents: Vec<_> = self.places.iter().collect();
        let next = AtomicUsize::new(0);
        let all_found = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    let mut found = Vec::new();
                    while let Some((content, places)) = contents.get(next.fetch_add(1, Ordering::Relaxed)) {
                        searches.iter().for_each(|search| search.search(content, &mut found));
                        let hits = found.drain(..).map(|hit| (*places, hit));
                        all_found
                            .lock()
                            .unwrap_or_else(|poisoned| poisoned.into_inner())
                            .extend(hits);
                    }
                });
            }
        });
        // A panic of a thread has been passed on by the scope.
        for (places, hit) in all_found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            places.iter().for_each(|place| tell(*place, hit.clone()));
        }
    }
}

pub(super) const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyscan::Order;

    /// Finds the byte 0xff followed by 0xee.
    struct Marker;

    impl WindowSearch for Marker {
        fn window_len(&self) -> usize {
            2
        }

        fn search(&self, bytes: &[u8], found: &mut Vec<Found>) {
            let hits = (0..bytes.len().saturating_sub(1)).filter(|at| bytes[*at..*at + 2] == [0xff, 0xee]);
            found.extend(hits.map(|offset| Found {
                key: 0,
                component: "marker",
                order: Order::Big,
                offset,
            }));
        }
    }

    #[test]
    fn every_place_of_a_content_is_told_and_a_window_may_cross_pages() {
        let mut bytes = vec![0; 3 * PAGE];
        bytes[PAGE - 1..PAGE + 1].copy_from_slice(&[0xff, 0xee]);
        let mut pages = Pages::new(1);
        pages.add(0, 0x1000, &bytes);
        pages.add(1, 0x7000, &bytes);
        assert_eq!(pages.places.len(), 3, "each content once");
        let mut told = Vec::new();
        pages.search(&[Box::new(Marker)], |place, found| {
            told.push((place.target, place.address + u64::try_from(found.offset).unwrap()));
        });
        told.sort_unstable();
        assert_eq!(told, [(0, 0x1fff), (1, 0x7fff)]);
    }
}
