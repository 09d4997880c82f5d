//! YAML as a tree with lines. Aliases and several documents are refused: no such file has them, and an alias may stand for a million
//! nodes.

use saphyr_parser::{Event, Parser};

/// A node and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<Node>),
    /// In the file's order.
    Map(Vec<(String, Node)>),
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub(super) line: usize,
    pub(super) what: String,
}

impl Node {
    /// Reads the one document of a text.
    pub(super) fn parse(text: &str) -> Result<Self, YamlError> {
        let mut open: Vec<Open> = Vec::new();
        let mut whole = None;
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| YamlError {
                line: error.marker().line(),
                what: format!("this is no YAML: {}", error.info()),
            })?;
            let line = span.start.line();
            let closed = match event {
                Event::Scalar(text, ..) => Node {
                    line,
                    value: Value::Text(text.into_owned()),
                },
                Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= MAX_DEPTH => {
                    return Err(refused(line, "it is nested deeper than such a file can be"));
                }
                Event::SequenceStart(..) => {
                    open.push(Open::new(line, false));
                    continue;
                }
                Event::MappingStart(..) => {
                    open.push(Open::new(line, true));
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(open) => open.close()?,
                    None => continue,
                },
                Event::Alias(_) => return Err(refused(line, "write out what the alias (*) stands for")),
                Event::DocumentStart(_) if whole.is_some() => {
                    return Err(refused(line, "a second document begins; keep one"));
                }
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => continue,
            };
            match open.last_mut() {
                Some(around) => around.items.push(closed),
                None => whole = Some(closed),
            }
        }
        whole.ok_or_else(|| refused(1, "it is empty"))
    }
}

/// A list or a map whose end has not come.
struct Open {
    line: usize,
    is_map: bool,
    /// Of a map keys and values in turn.
    items: Vec<Node>,
}

impl Open {
    fn new(line: usize, is_map: bool) -> Self {
        Self {
            line,
            is_map,
            items: Vec::new(),
        }
    }

    fn close(self) -> Result<Node, YamlError> {
        let line = self.line;
        if !self.is_map {
            let value = Value::List(self.items);
            return Ok(Node { line, value });
        }
        let mut map: Vec<(String, Node)> = Vec::new();
        let mut items = self.items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            let Value::Text(name) = key.value else {
                return Err(refused(key.line, "a key is a word"));
            };
            if map.iter().any(|(known, _)| *known == name) {
                return Err(refused(key.line, &format!("{name} stands there twice: remove one")));
            }
            // Where the key is written is where one looks.
            map.push((
                name,
                Node {
                    line: key.line,
                    ..value
                },
            ));
        }
        let value = Value::Map(map);
        Ok(Node { line, value })
    }
}

fn refused(line: usize, what: &str) -> YamlError {
    YamlError {
        line,
        what: what.to_owned(),
    }
}

/// The file's own depth is 6.
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_knows_its_lines() {
        let node = Node::parse("---\na: 1\nb:\n  - c: \"x # y\" # z\n    d: ''\n").unwrap();
        let Value::Map(map) = node.value else { panic!() };
        assert_eq!((map[0].0.as_str(), map[0].1.line), ("a", 2));
        let Value::List(list) = &map[1].1.value else { panic!() };
        let Value::Map(inner) = &list[0].value else { panic!() };
        assert_eq!(
            (inner[0].1.line, &inner[0].1.value),
            (4, &Value::Text("x # y".to_owned()))
        );
        assert_eq!(inner[1].1.value, Value::Text(String::new()));
    }

    #[test]
    fn what_no_such_file_has_is_refused_with_its_line() {
        for (text, line, what) in [
            ("", 1, "empty"),
            ("a: &x 1\nb: *x\n", 2, "alias"),
            ("a: 1\n---\nb: 2\n", 2, "second document"),
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: [1\n", 2, "no YAML"),
            (&"[".repeat(20), 1, "nested"),
            (&"[".repeat(2_000), 1, "no YAML"),
        ] {
            let error = Node::parse(text).unwrap_err();
            assert!(error.line == line && error.what.contains(what), "{text:.20}: {error:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-c:\\-\\[\\]{}#&*!|>'\"% \n\t]{0,60}") {
            drop(Node::parse(&text));
        }
    }
}
