//! What the challenge server's DNS says, and what it answers over HTTP.

use anyhow::Result;
use serde_json::{Value, json};

use crate::Pebble;
use crate::http::Client;

impl Pebble {
    /// From now on, a host has this IPv4 address; those that have none have 127.0.0.1.
    pub fn add_a(&self, host: &str, address: &str) -> Result<()> {
        self.tell("/add-a", &json!({"host": host, "addresses": [address]}))
    }

    /// A TXT record of `name`, such as `_acme-challenge.a.example`: beside those that it has.
    pub fn set_txt(&self, name: &str, value: &str) -> Result<()> {
        self.tell("/set-txt", &json!({"host": absolute(name), "value": value}))
    }

    /// No TXT record of `name` any more.
    pub fn clear_txt(&self, name: &str) -> Result<()> {
        self.tell("/clear-txt", &json!({"host": absolute(name)}))
    }

    /// `name` is another name for `target`.
    pub fn set_cname(&self, name: &str, target: &str) -> Result<()> {
        self.tell("/set-cname", &json!({"host": name, "target": target}))
    }

    /// CAA records of `name`: tags and values.
    pub fn add_caa(&self, name: &str, records: &[(&str, &str)]) -> Result<()> {
        let policies: Vec<_> = records
            .iter()
            .map(|(tag, value)| json!({"tag": tag, "value": value}))
            .collect();
        self.tell("/add-caa", &json!({"host": name, "policies": policies}))
    }

    /// No CAA record of `name` any more.
    pub fn clear_caa(&self, name: &str) -> Result<()> {
        self.tell("/clear-caa", &json!({"host": name}))
    }

    /// The challenge server answers HTTP-01 for this token, whatever the host.
    pub fn add_http01(&self, token: &str, content: &str) -> Result<()> {
        self.tell("/add-http01", &json!({"token": token, "content": content}))
    }

    /// The challenge server answers for this token no more.
    pub fn remove_http01(&self, token: &str) -> Result<()> {
        self.tell("/del-http01", &json!({"token": token}))
    }

    fn tell(&self, path: &str, body: &Value) -> Result<()> {
        Client::plain(self.ports.challenges)
            .post(path, &body.to_string())
            .map(drop)
    }
}

/// TXT records are kept by the absolute name.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}
