//! What the parent instance gives to enclaves, and the image that it shall start.

use enclave_tls_admin::peer;
use enclave_tls_nitro::machine::{self, Level, Person, Root};
use enclave_tls_nitro::{NitroCli, RunOptions, image_measurements};

use super::{Context, Finding};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let enclave = &context.config.enclave;
    let mut findings = vec![match image_measurements(&enclave.image) {
        Ok(measured) => Finding::ok(IMAGE, format!("measured as PCR0 {}", measured.pcr0)),
        Err(error) => Finding::error(IMAGE, error.to_string(), "enclave-tlsctl check, once both are there"),
    }];
    let wanted = RunOptions {
        image: enclave.image.clone(),
        name: enclave.name.to_string(),
        cid: enclave.cid,
        cpus: enclave.cpus,
        memory_mib: u64::from(enclave.memory),
    };
    let described = match NitroCli::new(&enclave.nitro_cli).describe() {
        Ok(described) => {
            let count = described.enclaves.len();
            findings.push(Finding::ok("nitro-cli", format!("{count} enclaves run")));
            Some(described)
        }
        Err(error) => {
            findings.push(Finding::error("nitro-cli", error.to_string(), error.advice()));
            None
        }
    };
    let root = Root::new(&context.options.root);
    let person = Person(peer::AGENT.to_owned());
    let facts = machine::check(&root, &wanted, described.as_ref(), &person);
    findings.extend(facts.into_iter().map(of_fact));
    findings
}

fn of_fact(fact: machine::Finding) -> Finding {
    let todo = || fact.remedy.as_ref().map(ToString::to_string).unwrap_or_default();
    match fact.level {
        Level::Good => Finding::ok(fact.subject, fact.found),
        Level::Doubtful => Finding::warning(fact.subject, fact.found.clone(), todo()),
        Level::Bad => Finding::error(fact.subject, fact.found.clone(), todo()),
    }
}

const IMAGE: &str = "measurements";
