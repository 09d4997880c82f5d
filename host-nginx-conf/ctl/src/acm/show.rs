//! ACM's things, for people.

use crate::aws::acm::{Account, Binding, Domain, Endpoint, Scope};
use crate::show::plain;
use crate::table;

pub(super) fn endpoints(endpoints: &[Endpoint]) -> String {
    let row = |one: &Endpoint| [plain(&one.arn), plain(&one.status), or_dash(one.directory.as_ref())];
    list(
        "no endpoints",
        ["ARN", "STATUS", "DIRECTORY"],
        endpoints.iter().map(row),
    )
}

pub(super) fn endpoint(endpoint: &Endpoint) -> String {
    let algorithms = match endpoint.key_algorithms.as_slice() {
        [] => "all".to_owned(),
        some => plain(&some.join(", ")),
    };
    rows([
        ("ARN", Some(plain(&endpoint.arn))),
        ("Status", Some(plain(&endpoint.status))),
        ("Failure", endpoint.failure.as_deref().map(plain)),
        ("Directory", Some(or_dash(endpoint.directory.as_ref()))),
        ("Key algorithms", Some(algorithms)),
        (
            "Contact",
            Some(
                if endpoint.contact_required {
                    "required"
                } else {
                    "not required"
                }
                .to_owned(),
            ),
        ),
        ("Created", endpoint.created.clone()),
    ])
}

pub(super) fn domains(domains: &[Domain]) -> String {
    let row = |one: &Domain| {
        [
            plain(&one.domain),
            scope(one.scope),
            plain(&one.status),
            or_dash(one.failure.as_ref()),
            plain(&one.arn),
        ]
    };
    list(
        "no domains",
        ["DOMAIN", "FOR", "STATUS", "FAILURE", "ARN"],
        domains.iter().map(row),
    )
}

pub(super) fn domain(domain: &Domain) -> String {
    let record = domain
        .record
        .as_ref()
        .map(|record| plain(&format!("{} CNAME {}", record.name, record.value)));
    let text = rows([
        ("ARN", Some(plain(&domain.arn))),
        ("Domain", Some(plain(&domain.domain))),
        ("For", Some(scope(domain.scope))),
        ("Status", Some(plain(&domain.status))),
        ("Failure", domain.failure.as_deref().map(plain)),
        ("Hosted zone", domain.hosted_zone.as_deref().map(plain)),
        ("Record", record),
        ("Created", domain.created.clone()),
    ]);
    match domain.status == "VALIDATING" && domain.hosted_zone.is_none() {
        true => {
            text + "\nPut the record into the domain's zone and leave it there: ACM looks at it again for each renewal.\n"
        }
        false => text,
    }
}

pub(super) fn bindings(bindings: &[Binding]) -> String {
    let row = |one: &Binding| {
        [
            plain(&one.arn),
            or_dash(one.expires.as_ref()),
            or_dash(one.revoked.as_ref()),
            or_dash(one.last_used.as_ref()),
            or_dash(one.role.as_ref()),
        ]
    };
    list(
        "no bindings",
        ["ARN", "EXPIRES", "REVOKED", "LAST USED", "ROLE"],
        bindings.iter().map(row),
    )
}

pub(super) fn binding(binding: &Binding) -> String {
    rows([
        ("ARN", Some(plain(&binding.arn))),
        ("Role", binding.role.as_deref().map(plain)),
        ("Created", binding.created.clone()),
        (
            "Expires",
            Some(binding.expires.clone().unwrap_or_else(|| "never".to_owned())),
        ),
        ("Revoked", binding.revoked.clone()),
        ("Last used", binding.last_used.clone()),
    ])
}

pub(super) fn accounts(accounts: &[Account]) -> String {
    let row = |one: &Account| {
        [
            plain(&one.url),
            plain(&one.status),
            or_dash(one.created.as_ref()),
            or_dash(one.thumbprint.as_ref()),
        ]
    };
    list(
        "no accounts",
        ["URL", "STATUS", "CREATED", "THUMBPRINT"],
        accounts.iter().map(row),
    )
}

pub(super) fn account(account: &Account) -> String {
    let contacts = (!account.contacts.is_empty()).then(|| plain(&account.contacts.join(", ")));
    rows([
        ("URL", Some(plain(&account.url))),
        ("Status", Some(plain(&account.status))),
        ("Thumbprint", account.thumbprint.as_deref().map(plain)),
        ("Binding", account.binding.as_deref().map(plain)),
        ("Contacts", contacts),
        ("Created", account.created.clone()),
    ])
}

fn scope(scope: Scope) -> String {
    let parts = [
        ("itself", scope.exact),
        ("subdomains", scope.subdomains),
        ("wildcards", scope.wildcards),
    ];
    let enabled: Vec<_> = parts
        .iter()
        .filter(|(_, enabled)| *enabled)
        .map(|(name, _)| *name)
        .collect();
    enabled.join(", ")
}

fn list<const N: usize>(none: &str, head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    match rows.is_empty() {
        true => format!("There are {none}.\n"),
        false => table::render(head, &rows),
    }
}

fn rows<const N: usize>(rows: [(&str, Option<String>); N]) -> String {
    let there = rows
        .into_iter()
        .filter_map(|(what, value)| Some([what.to_owned(), value?]));
    table::indented(&there.collect::<Vec<_>>())
}

fn or_dash(text: Option<&String>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| plain(text))
}
