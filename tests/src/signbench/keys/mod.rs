//! Whether it matters how many keys a service has: one with a few, and one with very many, side by side.
//!
//! Each service is a process of its own, filled here over its control plane: keys that are born, with real chains, each of which has
//! signed once. Then, in turns: signatures through the module; a find by `CKA_ID` and by `CKA_LABEL`; and whole programs that start,
//! find a key and sign once.

mod fresh;
mod service;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use self::fresh::Fresh;
pub use self::service::Filled;
use self::service::{Known, Service};
use super::plan::{Attribute, Mechanism, Plan, SubjectPlan, Watch, Work};
use super::report::Report;

/// What to measure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysPlan {
    /// The service's command, but for its sockets.
    pub service: Vec<String>,
    /// Where sockets and configuration of the services may lie: empty.
    pub dir: PathBuf,
    /// How many keys the one service has.
    pub few: usize,
    /// How many the other has.
    pub many: usize,
    /// `signer`, built.
    pub signer: PathBuf,
    /// The module.
    pub module: PathBuf,
    /// The variable that names its configuration.
    pub variable: String,
    /// The token's label.
    pub token: String,
    /// The core of client and services.
    pub core: usize,
    /// How long a slice lasts.
    pub slice_ms: u64,
    /// How many rounds there are.
    pub rounds: usize,
    /// How many there may be: see [`Plan`].
    #[serde(default)]
    pub most_rounds: Option<usize>,
    /// Programs that start, sign once and end.
    pub fresh: Vec<FreshPlan>,
    /// How often each is run.
    pub runs: usize,
}

/// A program that signs once. `{id}` in its words and its input is a key's `CKA_ID` in hexadecimal, `{uri}` the key's URI (RFC 7512).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshPlan {
    /// Its name in the report.
    pub name: String,
    /// The command.
    pub words: Vec<String>,
    /// What it reads.
    pub input: String,
    /// The same without our module: what is compared with.
    pub base: Vec<String>,
    /// What it has in its environment, and the other has not.
    pub environment: BTreeMap<String, String>,
}

/// Both services, and what was measured of them.
#[derive(Clone, Debug, Serialize)]
pub struct Keys {
    /// The one with few keys.
    pub few: Filled,
    /// The one with very many.
    pub many: Filled,
    /// `C_SignInit` and `C_Sign`.
    pub signing: Report,
    /// A find by `CKA_ID`.
    pub by_id: Report,
    /// A find by `CKA_LABEL`.
    pub by_label: Report,
    /// In the plan's order.
    pub fresh: Vec<Fresh>,
}

/// Fills both services and measures.
pub fn keys(plan: &KeysPlan) -> Result<Keys> {
    let few = Service::start(plan, FEW, plan.few)?;
    let many = Service::start(plan, MANY, plan.many)?;
    let signing = |key: &Known| Work::Pkcs11 {
        signer: plan.signer.clone(),
        module: plan.module.clone(),
        token: plan.token.clone(),
        label: key.label.clone(),
        pin: None,
        mechanism: Mechanism::Ecdsa,
    };
    let find = |by| Work::Find {
        module: plan.module.clone(),
        token: plan.token.clone(),
        by,
    };
    let measured = |work: &dyn Fn(&Known) -> Work| measure(plan, [&few, &many], work);
    Ok(Keys {
        few: few.filled.clone(),
        many: many.filled.clone(),
        signing: measured(&signing)?,
        by_id: measured(&|key| find(Attribute::Id(key.id.clone())))?,
        by_label: measured(&|key| find(Attribute::Label(key.label.clone())))?,
        fresh: plan
            .fresh
            .iter()
            .map(|program| fresh::measure(plan, program, &few, &many))
            .collect::<Result<_>>()?,
    })
}

/// One work against both services, each with a client process of its own.
fn measure(plan: &KeysPlan, services: [&Service; 2], work: &dyn Fn(&Known) -> Work) -> Result<Report> {
    let subject = |service: &Service| {
        Ok(SubjectPlan {
            name: service.name.to_owned(),
            threads: 1,
            processes: 1,
            environment: service.environment(plan),
            watch: vec![Watch {
                part: "service".to_owned(),
                pid: service.pid(),
                core: Some(plan.core),
            }],
            work: work(&service.some(1)?),
        })
    };
    let plan = Plan {
        core: Some(plan.core),
        slice_ms: plan.slice_ms,
        rounds: plan.rounds,
        most_rounds: plan.most_rounds,
        references: vec![FEW.to_owned()],
        count_client: true,
        subjects: services.into_iter().map(subject).collect::<Result<_>>()?,
    };
    Ok(super::run(&plan)?)
}

const FEW: &str = "few";
const MANY: &str = "many";
