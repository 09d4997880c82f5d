//! Programs of the administrator's that the agent runs: that they are there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Context, Finding, rights};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let hook = &context.config.hooks.after_rotation;
    hook.iter()
        .filter_map(|hook| missing(AREA, &hook.program, "after_rotation under [hooks]"))
        .collect()
}

/// What is wrong with a program that the configuration names in such a place.
pub(super) fn missing(area: &'static str, program: &Path, place: &str) -> Option<Finding> {
    let found = std::fs::metadata(program);
    let runs = found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if runs || rights::is_denied(program) {
        return None;
    }
    let path = program.display();
    Some(Finding::error(
        area,
        format!("the hook {path} is no program that can be run"),
        format!("put it there and `chmod 755 {path}`, or correct {place}"),
    ))
}

const AREA: &str = "hooks";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_may_be_run_is_a_program() {
        for absent in ["/nowhere/hook", "/", "/etc/passwd"] {
            let found = missing(AREA, Path::new(absent), "after_rotation under [hooks]").unwrap();
            assert!(found.found.contains(absent), "{found:?}");
            assert!(found.todo.unwrap().ends_with("correct after_rotation under [hooks]"));
        }
        assert_eq!(missing(AREA, Path::new("/bin/sh"), ""), None);
    }
}
