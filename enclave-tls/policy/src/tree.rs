//! The tree of a policy's TOML, and the two ways in which it is written.
//!
//! The canonical form is RFC 8785 (JCS). For these trees it is plain: no floats, whose form RFC 8785 takes from
//! ECMAScript; integers below 2^53 in magnitude, which are written as they are; names sorted (by UTF-16 units there, by
//! bytes here: the same, since every name that a policy may have is ASCII); strings as ECMAScript escapes them.
//! `serde_json` escapes exactly so: `\b \t \n \f \r \" \\`, `\u00xx` in lower case for the other characters below U+0020,
//! and nothing else. Its own object type is not used: a feature of it, which any crate of the build could turn on, gives
//! up the order of names.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::PolicyError;

/// A value of a policy's TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    Bool(bool),
    Integer(i64),
    Text(String),
    Array(Vec<Tree>),
    Table(Table),
}

pub(crate) type Table = BTreeMap<String, Tree>;

impl Tree {
    /// Reads TOML. What has no one JSON form is refused: floats, dates, large integers.
    pub(crate) fn parse(text: &str) -> Result<Table, PolicyError> {
        // A TOML reader may or may not take the CR out of a string's line ends: two readers, two measurements.
        if let Some(at) = text.find('\r') {
            return Err(PolicyError::at(text, at, "lines end in a line feed alone"));
        }
        let table = DeTable::parse(text).map_err(|error| PolicyError::from_toml(text, &error))?;
        read_table(text, table.get_ref())
    }
}

/// RFC 8785 JSON.
pub(crate) fn to_json(table: &Table) -> String {
    Json(&Tree::Table(table.clone())).to_string()
}

/// TOML that reads as the same tree: simple values first, then tables, then arrays of tables.
pub(crate) fn to_toml(table: &Table) -> String {
    let mut out = String::new();
    for (name, value) in table.iter().filter(|(_, value)| !is_section(value)) {
        out += &format!("{name} = {}\n", Toml(value));
    }
    for (name, value) in table.iter().filter(|(_, value)| is_section(value)) {
        match value {
            Tree::Table(section) => write_section(&mut out, &format!("[{name}]"), section),
            Tree::Array(sections) => sections.iter().for_each(|section| {
                if let Tree::Table(section) = section {
                    write_section(&mut out, &format!("[[{name}]]"), section);
                }
            }),
            Tree::Bool(_) | Tree::Integer(_) | Tree::Text(_) => {}
        }
    }
    out
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl FromIterator<Tree> for Tree {
    fn from_iter<I: IntoIterator<Item = Self>>(values: I) -> Self {
        Self::Array(values.into_iter().collect())
    }
}

impl<const N: usize> From<[(&str, Tree); N]> for Tree {
    fn from(entries: [(&str, Self); N]) -> Self {
        Self::Table(entries.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

fn read_table(text: &str, table: &DeTable<'_>) -> Result<Table, PolicyError> {
    let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        Ok((name.clone().into_owned(), read(text, value)?))
    };
    table.iter().map(entry).collect()
}

fn read(text: &str, value: &Spanned<DeValue<'_>>) -> Result<Tree, PolicyError> {
    let refuse = |message| Err(PolicyError::at(text, value.span().start, message));
    match value.get_ref() {
        DeValue::Boolean(value) => Ok(Tree::Bool(*value)),
        DeValue::String(value) => Ok(Tree::Text(value.clone().into_owned())),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) if value.unsigned_abs() < MAX_INTEGER => Ok(Tree::Integer(value)),
            _ => refuse("an integer of a policy is below 2^53"),
        },
        DeValue::Array(values) => values.iter().map(|value| read(text, value)).collect(),
        DeValue::Table(table) => Ok(Tree::Table(read_table(text, table)?)),
        DeValue::Float(_) => refuse("a policy has no floats"),
        DeValue::Datetime(_) => refuse("a policy has no dates and times"),
    }
}

fn is_section(value: &Tree) -> bool {
    match value {
        Tree::Table(_) => true,
        Tree::Array(values) => !values.is_empty() && values.iter().all(|value| matches!(value, Tree::Table(_))),
        Tree::Bool(_) | Tree::Integer(_) | Tree::Text(_) => false,
    }
}

fn write_section(out: &mut String, header: &str, section: &Table) {
    *out += &format!("\n{header}\n");
    for (name, value) in section {
        *out += &format!("{name} = {}\n", Toml(value));
    }
}

struct Json<'a>(&'a Tree);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Tree::Bool(value) => write!(f, "{value}"),
            Tree::Integer(value) => write!(f, "{value}"),
            Tree::Text(text) => f.write_str(&escaped(text)),
            Tree::Array(values) => {
                f.write_str("[")?;
                separated(f, ",", values, |f, value| write!(f, "{}", Json(value)))?;
                f.write_str("]")
            }
            Tree::Table(table) => {
                f.write_str("{")?;
                separated(f, ",", table, |f, (name, value)| {
                    write!(f, "{}:{}", escaped(name), Json(value))
                })?;
                f.write_str("}")
            }
        }
    }
}

/// A value on the right of a `=`. Names stand bare: a policy has none that would need quotes.
struct Toml<'a>(&'a Tree);

impl fmt::Display for Toml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Tree::Bool(value) => write!(f, "{value}"),
            Tree::Integer(value) => write!(f, "{value}"),
            Tree::Text(text) => f.write_str(&quoted(text)),
            Tree::Array(values) => {
                f.write_str("[")?;
                separated(f, ", ", values, |f, value| write!(f, "{}", Toml(value)))?;
                f.write_str("]")
            }
            Tree::Table(table) => {
                f.write_str("{ ")?;
                separated(f, ", ", table, |f, (name, value)| write!(f, "{name} = {}", Toml(value)))?;
                f.write_str(" }")
            }
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    separator: &str,
    values: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write(f, value)?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A TOML string. JSON's escapes are TOML's too, but DEL must be escaped as well; text of several lines (a certificate)
/// stays readable.
fn quoted(text: &str) -> String {
    if !text.contains('\n') {
        return escaped(text).replace(DEL, DEL_ESCAPED);
    }
    let inner = |line: &str| {
        let escaped = escaped(line).replace(DEL, DEL_ESCAPED);
        let inner = escaped.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.unwrap_or_default().to_owned()
    };
    let lines: Vec<String> = text.split('\n').map(inner).collect();
    format!("\"\"\"\n{}\"\"\"", lines.join("\n"))
}

const DEL: char = '\u{7f}';
const DEL_ESCAPED: &str = "\\u007f";
/// 2^53: above it not every integer is a number of JSON (RFC 8785, section 3.2.2.3, and RFC 7493).
const MAX_INTEGER: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(toml: &str) -> String {
        to_json(&Tree::parse(toml).unwrap())
    }

    /// RFC 8785, section 3.2.2: the string of its example, as TOML can write it.
    #[test]
    fn strings_are_escaped_as_rfc_8785_says() {
        let toml = r#"string = "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"/""#;
        assert_eq!(json(toml), r#"{"string":"€$\u000f\nA'B\"\\\\\"/"}"#);
        let controls = r#"s = "\u0000\b\t\n\u000b\f\r\u001f\u007f\u0080\u2028\U0001F600""#;
        let expected = "{\"s\":\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}\u{80}\u{2028}\u{1f600}\"}";
        assert_eq!(json(controls), expected);
    }

    #[test]
    fn names_are_sorted_and_integers_plain() {
        let toml = "b = -0\na = 0x1F_ff\nB = -9007199254740991\n[c]\nz = [[], [true], {}]\n\"\" = ''\n[c.a]\n";
        let expected = r#"{"B":-9007199254740991,"a":8191,"b":0,"c":{"":"","a":{},"z":[[],[true],{}]}}"#;
        assert_eq!(json(toml), expected);
    }

    #[test]
    fn what_has_no_one_json_form_is_refused() {
        for (toml, line, message) in [
            ("a = 1\nb = [1, {c = 1.0}]", 2, "a policy has no floats"),
            ("a = nan", 1, "a policy has no floats"),
            ("a = 1e3", 1, "a policy has no floats"),
            ("a = 07:32:00", 1, "a policy has no dates and times"),
            ("a = 1979-05-27T07:32:00Z", 1, "a policy has no dates and times"),
            ("\n\na = 9007199254740992", 3, "an integer of a policy is below 2^53"),
            ("a = -9007199254740992", 1, "an integer of a policy is below 2^53"),
            ("a = 0xffffffffffffffffff", 1, "an integer of a policy is below 2^53"),
            ("a = '''1\r\n2'''", 1, "lines end in a line feed alone"),
            ("a = 1\nb = 2\r\n", 2, "lines end in a line feed alone"),
        ] {
            let error = Tree::parse(toml).unwrap_err();
            assert_eq!(
                error,
                PolicyError::Form {
                    line: Some(line),
                    message: message.to_owned()
                },
                "{toml:?}"
            );
        }
    }

    fn texts() -> impl Strategy<Value = Tree> {
        let pieces = vec![
            "\"", "\\", "\n", "\r", "\t", "\0", "\u{1b}", "\u{7f}", "\u{85}", "é", "'", "\"\"\"", " ", "n", "u0041",
        ];
        let text = proptest::collection::vec(proptest::sample::select(pieces), 0..8);
        text.prop_map(|pieces| Tree::Text(pieces.concat()))
    }

    fn tables() -> impl Strategy<Value = Table> {
        let integers = -9_007_199_254_740_991..=9_007_199_254_740_991_i64;
        let leaf = prop_oneof![
            any::<bool>().prop_map(Tree::Bool),
            integers.prop_map(Tree::Integer),
            texts()
        ];
        let tree = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::Array),
                proptest::collection::btree_map("[a-z_0-9]{1,3}", inner, 0..4).prop_map(Tree::Table),
            ]
        });
        proptest::collection::btree_map("[a-z_0-9]{1,3}", tree, 0..5)
    }

    proptest! {
        #[test]
        fn toml_that_is_written_reads_as_the_same_tree(table in tables()) {
            let toml = to_toml(&table);
            prop_assert_eq!(Tree::parse(&toml), Ok(table), "{}", toml);
        }

        #[test]
        fn json_that_is_written_is_json(table in tables()) {
            let json = to_json(&table);
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read.as_object().unwrap().len(), table.len());
        }
    }
}
