//! Text that the protocol carries as it is, or not at all.

use enclave_wire::log::Text;

/// `text`, if it is 1 to `MAX` characters of printable ASCII. What would be cut or replaced would name something else.
pub fn exact<const MAX: usize>(text: &str) -> Option<Text<MAX>> {
    let read = Text::lossy(text);
    (!text.is_empty() && read.as_str() == text).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_cut_or_replaced() {
        assert_eq!(exact::<3>("a b").unwrap().as_str(), "a b");
        for bad in ["", "abcd", "a\n", "\u{e9}"] {
            assert_eq!(exact::<3>(bad), None, "{bad:?}");
        }
    }
}
