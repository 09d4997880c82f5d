//! The same clients on SoftHSM2 and on ours, with the same keys: what differs is listed in `tests/differential/expected.txt`, with the
//! reason, and nothing else may.

mod calls;
mod nginx;
mod openssl;
mod tokens;

use anyhow::Result;
use e2e::lab::Lab;
use e2e::lab::differences::{Expected, Outcomes};
use e2e::lab::suite::Test;

use self::tokens::{Token, Tokens};

pub(super) const TESTS: &[Test] = e2e::tests![
    a_c_client_on_softhsm_and_on_ours,
    openssl_on_softhsm_and_on_ours,
    nginx_on_softhsm_and_on_ours,
];

fn a_c_client_on_softhsm_and_on_ours(lab: &Lab) -> Result<()> {
    let client = calls::Client::compile()?;
    on_both(lab, "calls", |tokens, token| client.run(tokens, token))
}

fn openssl_on_softhsm_and_on_ours(lab: &Lab) -> Result<()> {
    on_both(lab, "openssl", openssl::on)
}

fn nginx_on_softhsm_and_on_ours(lab: &Lab) -> Result<()> {
    on_both(lab, "nginx", nginx::on)
}

fn on_both(lab: &Lab, client: &str, run: impl Fn(&Tokens<'_>, &Token) -> Result<Outcomes>) -> Result<()> {
    lab.need_not_be_emulated()?;
    let expected = Expected::parse(include_str!("../differential/expected.txt"))?;
    let tokens = Tokens::make(lab)?;
    let named = |outcomes: Outcomes| outcomes.into_iter().map(|(at, what)| (format!("{client} {at}"), what));
    let softhsm = named(run(&tokens, &tokens.softhsm)?).collect();
    let ours = named(run(&tokens, &tokens.ours)?).collect();
    expected.compare(client, &softhsm, &ours)
}
