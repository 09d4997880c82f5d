//! `acm`, where the SDK was left out: it says so, whatever it is asked.

use clap::Args;

use crate::aws::AwsError;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<String>,
}

pub(crate) type AcmError = AwsError;

pub(crate) fn run(_options: &Options, _json: bool) -> Result<(), AcmError> {
    Err(AwsError::NotBuilt)
}
