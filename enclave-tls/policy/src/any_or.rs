//! A list that may be left open: `["*"]`, or the values themselves.

/// What a list of the policy covers.
///
/// `["*"]` lets one image serve everyone: it leaves the choice to the policy that the parent adds, which is measured as
/// well. What an open list means in the policy in force differs from field to field, and stands at each question of
/// [`crate::Policy`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnyOr<T> {
    /// `["*"]`.
    Any,
    /// These, in the order of the file.
    Only(Vec<T>),
}

impl<T: Clone + PartialEq> AnyOr<T> {
    /// Whether the value is among those covered.
    pub(crate) fn covers(&self, value: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(values) => values.contains(value),
        }
    }

    /// What is written there by name: of an open list nothing.
    pub(crate) fn named(&self) -> &[T] {
        match self {
            Self::Any => &[],
            Self::Only(values) => values,
        }
    }

    /// What both cover, in this list's order unless it is open.
    pub(crate) fn intersect(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Any, other) => other.clone(),
            (values, Self::Any) => values.clone(),
            (Self::Only(values), Self::Only(others)) => {
                Self::Only(values.iter().filter(|value| others.contains(value)).cloned().collect())
            }
        }
    }
}

/// How an open list is written.
pub(crate) const ANY: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_list_takes_the_others_values() {
        let (any, list) = (AnyOr::Any, AnyOr::Only(vec![2, 1]));
        assert_eq!(any.intersect(&list), list);
        assert_eq!(list.intersect(&any), list);
        assert_eq!(any.intersect(&AnyOr::<u8>::Any), AnyOr::Any);
        assert_eq!(list.intersect(&AnyOr::Only(Vec::new())), AnyOr::Only(Vec::new()));
        assert!(any.covers(&3) && any.named().is_empty());
    }

    #[test]
    fn the_first_lists_order_is_kept() {
        let (image, parent) = (AnyOr::Only(vec![3, 1, 2]), AnyOr::Only(vec![2, 3, 4]));
        assert_eq!(image.intersect(&parent), AnyOr::Only(vec![3, 2]));
        assert_eq!(parent.intersect(&image), AnyOr::Only(vec![2, 3]));
    }
}
