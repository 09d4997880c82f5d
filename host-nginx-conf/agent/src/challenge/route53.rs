//! TXT records in Amazon Route 53, by the SDK, driven by one thread for as long as a call takes.
//!
//! Permissions: `route53:ListHostedZonesByName` on everything, unless the configuration names the zone, `route53:ListResourceRecordSets`
//! and `route53:ChangeResourceRecordSets` on the zone, `route53:GetChange`. Who may write a zone may have certificates for its names:
//! a zone for nothing but challenges, to which CNAME or NS records lead, is all that this machine should be given.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_route53::Client;
use aws_sdk_route53::types::{
    Change as RecordChange, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord, ResourceRecordSet, RrType,
};
use enclave_tls_config::Route53 as Place;

use super::writer::{Change, Writer};
use crate::Shared;

/// Hosted zones of the account that the agent's credentials are of.
pub(super) struct Route53 {
    place: Place,
    profile: Option<String>,
    /// The zones that were found, by the record.
    zones: Shared<BTreeMap<String, String>>,
}

impl Route53 {
    pub(super) fn new(place: Place, profile: Option<String>) -> Self {
        Self {
            place,
            profile,
            zones: Shared::default(),
        }
    }

    /// Changes the texts of a record. None: they are so already.
    async fn change(
        &self,
        record: &str,
        change: impl FnOnce(Vec<String>) -> Vec<String>,
    ) -> Result<Option<Change>, String> {
        let client = self.client().await;
        let record = self.written_as(record);
        let zone = self.zone(&client, &record).await?;
        let before = found(&client, &zone, &record).await?;
        let texts = before.as_ref().map(texts_of).unwrap_or_default();
        let after = change(texts.clone());
        if after == texts {
            return Ok(None);
        }
        let (action, set) = match (after.is_empty(), before) {
            (true, Some(before)) => (ChangeAction::Delete, before),
            (true, None) => return Ok(None),
            (false, before) => (ChangeAction::Upsert, record_set(&record, before.as_ref(), after)?),
        };
        let change = RecordChange::builder().action(action).resource_record_set(set).build();
        let batch = change.and_then(|change| ChangeBatch::builder().changes(change).build());
        let batch = batch.map_err(|error| error.to_string())?;
        let asked = client
            .change_resource_record_sets()
            .hosted_zone_id(&zone)
            .change_batch(batch)
            .send()
            .await;
        let answer = asked.map_err(|error| said("ChangeResourceRecordSets", &record, &error))?;
        let id = answer.change_info().map(|info| info.id().to_owned());
        id.map(|id| Some(Change(id)))
            .ok_or_else(|| format!("ChangeResourceRecordSets of {record}: the answer has no id"))
    }

    /// The public zone whose name is the longest end of the record's: there it is, by whatever NS records lead to it.
    async fn zone(&self, client: &Client, record: &str) -> Result<String, String> {
        if let Some(id) = &self.place.zone_id {
            return Ok(id.clone());
        }
        if let Some(known) = self.zones.lock().get(record) {
            return Ok(known.clone());
        }
        let mut end = Some(record);
        while let Some(name) = end {
            let wanted = format!("{name}.");
            let asked = client
                .list_hosted_zones_by_name()
                .dns_name(&wanted)
                .max_items(SAME_NAME)
                .send()
                .await;
            let answer = asked.map_err(|error| said("ListHostedZonesByName", name, &error))?;
            let is_private = |zone: &aws_sdk_route53::types::HostedZone| {
                zone.config()
                    .is_some_and(aws_sdk_route53::types::HostedZoneConfig::private_zone)
            };
            let its = answer
                .hosted_zones()
                .iter()
                .find(|zone| zone.name() == wanted && !is_private(zone));
            if let Some(zone) = its {
                let id = zone.id().trim_start_matches("/hostedzone/").to_owned();
                self.zones.lock().insert(record.to_owned(), id.clone());
                return Ok(id);
            }
            end = name.split_once('.').map(|(_, rest)| rest);
        }
        Err(format!(
            "Route 53 has no public hosted zone for {record}; name one with zone_id, or a domain of such a zone with delegated, under [dns01]"
        ))
    }

    async fn client(&self) -> Client {
        // Route 53 is one for a whole partition, and its endpoint is signed for as this region.
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(
            aws_config::meta::region::RegionProviderChain::default_provider().or_else(Region::new("us-east-1")),
        );
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        Client::new(&loader.load().await)
    }
}

impl Writer for Route53 {
    fn present(&self, record: &str, value: &str) -> Result<Option<Change>, String> {
        let text = format!("\"{value}\"");
        block_on(self.change(record, |mut texts| {
            if !texts.contains(&text) {
                texts.push(text);
            }
            texts
        }))
    }

    fn is_done(&self, change: &Change) -> Result<bool, String> {
        block_on(async {
            let id = change.0.trim_start_matches("/change/");
            let asked = self.client().await.get_change().id(id).send().await;
            let answer = asked.map_err(|error| said("GetChange", id, &error))?;
            Ok(answer
                .change_info()
                .is_some_and(|info| *info.status() == ChangeStatus::Insync))
        })
    }

    fn cleanup(&self, record: &str, value: &str) -> Result<(), String> {
        let text = format!("\"{value}\"");
        let without = |mut texts: Vec<String>| {
            texts.retain(|one| *one != text);
            texts
        };
        block_on(self.change(record, without)).map(|_| ())
    }

    fn written_as(&self, record: &str) -> String {
        match &self.place.delegated {
            None => record.to_owned(),
            Some(domain) => {
                let name = record.strip_prefix("_acme-challenge.").unwrap_or(record);
                format!("{name}.{domain}")
            }
        }
    }
}

async fn found(client: &Client, zone: &str, record: &str) -> Result<Option<ResourceRecordSet>, String> {
    let asked = client
        .list_resource_record_sets()
        .hosted_zone_id(zone)
        .start_record_name(record)
        .start_record_type(RrType::Txt)
        .max_items(1)
        .send()
        .await;
    let answer = asked.map_err(|error| said("ListResourceRecordSets", record, &error))?;
    let is_it = |set: &&ResourceRecordSet| set.name().trim_end_matches('.') == record && *set.r#type() == RrType::Txt;
    Ok(answer.resource_record_sets().iter().find(is_it).cloned())
}

fn texts_of(set: &ResourceRecordSet) -> Vec<String> {
    set.resource_records()
        .iter()
        .map(|record| record.value().to_owned())
        .collect()
}

fn record_set(
    record: &str,
    before: Option<&ResourceRecordSet>,
    texts: Vec<String>,
) -> Result<ResourceRecordSet, String> {
    let ttl = before.and_then(ResourceRecordSet::ttl).unwrap_or(TTL);
    let mut set = ResourceRecordSet::builder().name(record).r#type(RrType::Txt).ttl(ttl);
    for text in texts {
        set = set.resource_records(
            ResourceRecord::builder()
                .value(text)
                .build()
                .map_err(|error| error.to_string())?,
        );
    }
    set.build().map_err(|error| error.to_string())
}

/// An error and its causes: the SDK's errors say little without them.
fn said(operation: &str, about: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{operation} of {about}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the system gives no event loop: {error}"))?;
    runtime.block_on(async {
        let within = tokio::time::timeout(WITHIN, work).await;
        within.unwrap_or_else(|_| Err(format!("Route 53 did not answer within {} s", WITHIN.as_secs())))
    })
}

/// A public zone and some private ones may have the same name.
const SAME_NAME: i32 = 20;
/// Seconds. A CA asks the zone's own servers.
const TTL: i64 = 60;
/// Credentials, a look for the zone, a look at the record, a change.
const WITHIN: Duration = Duration::from_secs(60);
