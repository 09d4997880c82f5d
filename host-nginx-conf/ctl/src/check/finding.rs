//! One thing that was looked at: how it stands, in a line, and the exact edit or command where it is not well.

use serde::Serialize;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// In a word or two; what `--json` is filtered by.
    pub(crate) area: &'static str,
    pub(crate) level: Level,
    pub(crate) found: String,
    /// The edit or the command; always there but where all is well.
    pub(crate) todo: Option<String>,
}

/// Whether it will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    Ok,
    /// It works, or may work, and should be looked at.
    Warning,
    /// Something will not work so.
    Error,
}

impl Finding {
    pub(crate) fn ok(area: &'static str, found: impl Into<String>) -> Self {
        Self {
            area,
            level: Level::Ok,
            found: found.into(),
            todo: None,
        }
    }

    pub(crate) fn warning(area: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            area,
            level: Level::Warning,
            found: found.into(),
            todo: Some(todo.into()),
        }
    }

    pub(crate) fn error(area: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            ..Self::warning(area, found, todo)
        }
    }
}

/// Some names out of many: a thousand certificates are one finding.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [one, two, three, rest @ ..] if !rest.is_empty() => format!("{one}, {two}, {three} and {} more", rest.len()),
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        assert_eq!(names(["a", "b", "c"]), "a, b, c");
        assert_eq!(names(["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
