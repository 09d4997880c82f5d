//! `Link` headers (RFC 8288): where other chains of a certificate are.

use enclave_https::HeaderMap;
use enclave_https::header::LINK;

/// The addresses of alternates, as they are written: the first [`MAX_ALTERNATES`].
pub(crate) fn alternates(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(links).take(MAX_ALTERNATES).collect()
}

/// Those of one header, in which commas part links.
fn links(mut value: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (_, after) = value.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (parameters, rest) = after.split_at(end_of_link(after));
        value = rest;
        Some((target, parameters))
    })
    .filter(|(_, parameters)| parameters.split(';').any(is_alternate))
    .map(|(target, _)| target)
}

/// Up to the comma before the next link: one in quotes is none.
fn end_of_link(text: &str) -> usize {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    end.unwrap_or(text.len())
}

fn is_alternate(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let relations = value.trim().trim_matches('"');
    let is_one = |relation: &str| relation.eq_ignore_ascii_case("alternate");
    name.trim().eq_ignore_ascii_case("rel") && relations.split(' ').any(is_one)
}

/// Let's Encrypt had three at most.
const MAX_ALTERNATES: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        alternates(&headers).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn alternates_among_other_links() {
        assert_eq!(
            read(&[
                r#"<https://a/dir>;rel="index""#,
                r#"<https://a/1>;rel="alternate""#,
                r#"<https://a/2> ; title="a, b" ; REL=Alternate, <https://a/up>;rel=up , <https://a/3>; rel="next alternate""#,
            ]),
            ["https://a/1", "https://a/2", "https://a/3"]
        );
        assert_eq!(read(&[&r#"<x>;rel="alternate","#.repeat(100)]).len(), MAX_ALTERNATES);
    }

    #[test]
    fn what_names_no_alternate() {
        for value in [
            "",
            "<",
            "<x",
            "<x>",
            "<x>;rel",
            "x;rel=alternate",
            r#"<x>;title="rel=alternate""#,
            "<x>;rel=alternates",
        ] {
            assert_eq!(read(&[value]), Vec::<String>::new(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[<>a;=\", ]{0,40}|[ -~]{0,40}") {
            read(&[&value]);
        }
    }
}
