//! Lists, a page at a time.

use serde_json::{Map, Value, json};

use super::{Call, Reply};
use crate::error::AcmError;

/// What a list is asked with. Each operation has its own members beside it, so these are no struct of serde's.
pub(super) struct Asked {
    pub(super) next_token: Option<String>,
    pub(super) max_results: Option<i64>,
}

/// One page of all items. A token is worth something for the list that gave it alone.
pub(super) fn page(call: &Call<'_>, name: &str, asked: &Asked, all: Vec<Value>) -> Reply {
    let most = match asked.max_results {
        None => call.config().page,
        Some(most) => usize::try_from(most)
            .ok()
            .filter(|most| (1..=MOST).contains(most))
            .ok_or_else(|| {
                let rule = format!("Member must have value between 1 and {MOST}");
                AcmError::constraint("maxResults", Some(&most.to_string()), &rule)
            })?,
    };
    let start: usize = match asked.next_token.as_deref() {
        None => 0,
        Some(token) => {
            let at = token.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            at.and_then(|at| at.parse().ok())
                .ok_or_else(|| AcmError::validation("The next token is not valid."))?
        }
    };
    let end = start.saturating_add(most);
    let mut reply = Map::new();
    if end < all.len() {
        reply.insert("NextToken".to_owned(), json!(format!("{name}-{end}")));
    }
    let items: Vec<Value> = all.into_iter().skip(start).take(most).collect();
    reply.insert(name.to_owned(), items.into());
    Ok(reply.into())
}

const MOST: usize = 100;
