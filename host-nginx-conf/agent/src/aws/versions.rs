//! Bundles in S3 that become others: the agent asks for each object's version, and the enclave reads it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use enclave_tls_config::{Aws, BundlePlace, Config, Source};
use enclave_wire::Name;
use enclave_wire::control::S3Object;

use crate::Shared;
use crate::clock::{Bell, Clock};
use crate::keeper::troubles::differ;
use crate::log::Event;

/// What S3 says of each certificate's bundle: by its name, a text that is another once the object is another.
pub(crate) type Versions = Shared<BTreeMap<Name, String>>;

/// Asks again and again, for ever.
pub(crate) fn watch(config: &Shared<Arc<Config>>, versions: &Versions, changed: &Bell, clock: &dyn Clock) {
    let mut asking = Asking::default();
    loop {
        let config = Arc::clone(&config.lock());
        if asking.round(&config, versions, head) {
            changed.ring();
        }
        clock.wait(&Bell::default(), asking.wait());
    }
}

/// What was heard last.
#[derive(Default)]
struct Asking {
    failures: u32,
    why: String,
}

impl Asking {
    /// Asks for all. Whether one is another than before.
    fn round(
        &mut self,
        config: &Config,
        versions: &Versions,
        ask: impl Fn(&Aws, &S3Object) -> Result<String, String>,
    ) -> bool {
        let Some(aws) = &config.aws else { return false };
        versions.lock().retain(|name, _| config.certificates.contains_key(name));
        let mut is_other = false;
        let mut failed = None;
        for certificate in config.certificates.values() {
            let Source::Bundle {
                from: BundlePlace::S3(object),
                ..
            } = &certificate.source
            else {
                continue;
            };
            match ask(aws, object) {
                Ok(version) => {
                    let before = versions.lock().insert(certificate.name.clone(), version.clone());
                    is_other |= before != Some(version);
                }
                Err(why) => failed = Some(format!("version of the bundle of {}: {why}", certificate.name)),
            }
        }
        match failed {
            None => (self.failures, self.why) = (0, String::new()),
            Some(why) => {
                self.failures = self.failures.saturating_add(1);
                if differ(&self.why, &why) {
                    Event::AwsFailed.say(format_args!("{why}; a newer one is not noticed until this works"));
                }
                self.why = why;
            }
        }
        is_other
    }

    /// Longer after failures, and never twice the same.
    fn wait(&self) -> Duration {
        let wait = EACH
            .saturating_mul(2_u32.saturating_pow(self.failures.min(3)))
            .min(LONGEST);
        let part = getrandom::u32().unwrap_or(u32::MAX);
        wait.mul_f64(0.8 + 0.4 * f64::from(part) / f64::from(u32::MAX))
    }
}

/// The version that S3 has, or, in a bucket without versions, the hash of what is there.
fn head(aws: &Aws, object: &S3Object) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the system gives no event loop: {error}"))?;
    let asked = async {
        let region = Region::new(object.region.as_str().to_owned());
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(region);
        if let Some(profile) = &aws.profile {
            loader = loader.profile_name(profile);
        }
        let mut settings = aws_sdk_s3::config::Builder::from(&loader.load().await);
        if let Some(host) = &aws.s3_host {
            settings = settings.endpoint_url(format!("https://{host}"));
        }
        // As the enclave addresses it: a bucket's name may have dots, which no certificate has.
        let client = Client::from_conf(settings.force_path_style(true).build());
        let head = client
            .head_object()
            .bucket(object.bucket.as_str())
            .key(object.key.as_str());
        head.send()
            .await
            .map_err(|error| DisplayErrorContext(&error).to_string())
    };
    let head = runtime
        .block_on(async { tokio::time::timeout(WITHIN, asked).await })
        .unwrap_or_else(|_| Err(format!("S3 did not answer within {} s", WITHIN.as_secs())))?;
    let version = head.version_id().or(head.e_tag());
    version
        .map(str::to_owned)
        .ok_or_else(|| "S3 says neither version nor hash".to_owned())
}

/// A bundle is another some times a year.
const EACH: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(3_600);
const WITHIN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::config;

    #[test]
    fn threat_37_what_s3_does_not_say_is_asked_for_less_often_and_changes_nothing() {
        let config = config(
            "[[certificates]]\nname = \"www\"\nsource = \"bundle\"\ns3 = \"s3://bkt/www.json\"\nregion = \"us-east-1\"\n\
             kms_key = \"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\"\nservers = [\"main\"]\n",
        );
        let (versions, mut asking) = (Versions::default(), Asking::default());
        let says = |text: &'static str| move |_: &Aws, _: &S3Object| Ok(text.to_owned());
        assert!(asking.round(&config, &versions, says("one")));
        assert!(!asking.round(&config, &versions, says("one")));
        let rest = asking.wait();
        assert!(rest >= EACH.mul_f64(0.8) && rest <= EACH.mul_f64(1.2), "{rest:?}");
        for _ in 0..9 {
            assert!(!asking.round(&config, &versions, |_, _| Err("503".to_owned())));
        }
        let longest = asking.wait();
        assert!(
            longest > EACH.saturating_mul(3) && longest <= LONGEST.mul_f64(1.2),
            "{longest:?}"
        );
        assert_eq!(versions.lock().values().collect::<Vec<_>>(), ["one"]);
        assert!(asking.round(&config, &versions, says("two")));
        assert!(asking.wait() <= EACH.mul_f64(1.2));
    }
}
