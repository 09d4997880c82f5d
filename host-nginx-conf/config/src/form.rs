//! The file as it is written: tables of words, each with its place in the text.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use enclave_wire::Name;
use enclave_wire::address::Address;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::certificates::Around;
use crate::reading::{Reading, Refused};
use crate::{Config, acme, agent, aws, certificates, challenges, clients, egress, enclave, hooks, servers};

/// A string and its place.
pub(crate) type Word = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    enclave: Option<Spanned<Table<enclave::Form>>>,
    agent: Option<Table<agent::Form>>,
    aws: Option<Table<aws::Form>>,
    egress: Option<Table<egress::Form>>,
    #[serde(default)]
    acme: acme::Forms,
    http01: Option<Table<challenges::Http01Form>>,
    dns01: Option<Spanned<Table<challenges::Dns01Form>>>,
    #[serde(default)]
    clients: clients::Forms,
    #[serde(default)]
    servers: servers::Forms,
    hooks: Option<Table<hooks::Form>>,
    #[serde(default)]
    certificates: certificates::Forms,
}

impl File {
    /// Reads all of it, so that what is wrong is said in one go.
    pub(crate) fn read(self, reading: &mut Reading) -> Result<Config, Refused> {
        let enclave = enclave::read(self.enclave, reading);
        let agent = agent::read(self.agent, reading);
        reading.finish_sockets();
        let aws = aws::read(self.aws, reading);
        let egress = egress::read(self.egress, reading);
        let named_accounts: BTreeMap<_, _> = self
            .acme
            .keys()
            .map(|name| (name.get_ref().clone(), name.span()))
            .collect();
        let (accounts, all_accounts) = acme::read(self.acme, aws.as_ref().ok(), reading);
        let metrics = agent.as_ref().ok().map(|agent| &agent.metrics);
        let http01 = challenges::http01(self.http01, metrics, reading);
        let dns01 = challenges::dns01(self.dns01, aws.as_ref().ok(), reading);
        let named: BTreeSet<String> = self.clients.keys().map(|name| name.get_ref().clone()).collect();
        let clients = clients::read(self.clients, reading);
        let named_servers: BTreeSet<String> = self.servers.keys().map(|name| name.get_ref().clone()).collect();
        let (servers, all_servers) = servers::read(self.servers, &named, reading);
        let hooks = hooks::read(self.hooks, reading);
        let around = Around {
            servers: &servers,
            named: &named_servers,
            aws: aws.as_ref().ok(),
            accounts: &named_accounts,
            dns01: dns01.as_ref().ok(),
        };
        let certificates = certificates::read(self.certificates, &around, reading);
        if let Ok(egress) = &egress {
            reading.finish_hosts(egress);
        }
        all_accounts?;
        all_servers?;
        Ok(Config {
            enclave: enclave?,
            agent: agent?,
            aws: aws?,
            egress: egress?,
            accounts,
            http01: http01?,
            dns01: dns01?,
            clients: clients?,
            servers,
            hooks: hooks?,
            certificates: certificates?,
        })
    }
}

/// A table, and nothing else: serde's derived readers would take an array of the right length for one too.
#[derive(Default)]
pub(crate) struct Table<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

pub(crate) fn name(text: &str) -> Result<Name, String> {
    Name::try_from(text).map_err(|_| NAME.to_owned())
}

pub(crate) fn address(text: &str) -> Result<Address, String> {
    // A path of a socket is a path: what could stand in a template as something else is no part of one.
    match text.parse::<Address>() {
        Ok(Address::UnixPath(path)) => crate::paths::parse(&path).map(|_| Address::UnixPath(path)),
        Ok(Address::UnixAbstract(name)) if name.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(Address::UnixAbstract(name))
        }
        Ok(Address::UnixAbstract(_)) => {
            Err("the name of an abstract socket is printable ASCII without spaces".to_owned())
        }
        Ok(Address::Vsock { port: 0, .. }) => Err("port 0 is no port that anyone finds: write another".to_owned()),
        Ok(address @ Address::Vsock { .. }) => Ok(address),
        Err(error) => Err(error.to_string()),
    }
}

const NAME: &str = "write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit";
