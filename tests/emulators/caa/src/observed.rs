//! What the proxy has seen of orders: their names, and by which challenge each was proven.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;

/// All that passed by.
#[derive(Default)]
pub(crate) struct Observed {
    /// By the path of `finalize`.
    orders: BTreeMap<String, Order>,
    /// By its path.
    authorizations: BTreeMap<String, Authorization>,
    /// By its path: its kind, and whether a client had it tried.
    challenges: BTreeMap<String, (String, bool)>,
    /// Where nonces are.
    pub(crate) new_nonce: Option<String>,
}

#[derive(Clone)]
struct Order {
    names: Vec<String>,
    authorizations: Vec<String>,
}

struct Authorization {
    name: String,
    challenges: Vec<String>,
}

/// A name that an order is for, and the kind of challenge that proved it, if it was seen.
pub(crate) struct Proven {
    pub(crate) name: String,
    pub(crate) method: Option<String>,
}

impl Observed {
    /// Notes what a request does.
    pub(crate) fn request(&mut self, method: &str, path: &str) {
        if let Some((_, tried)) = self.challenges.get_mut(path).filter(|_| method == "POST") {
            *tried = true;
        }
    }

    /// Notes what a reply says. What is no JSON of ACME's says nothing.
    pub(crate) fn reply(&mut self, path: &str, body: &[u8]) {
        if let Ok(directory) = serde_json::from_slice::<DirectoryForm>(body) {
            self.new_nonce = path_of(&directory.new_nonce);
        }
        if let Ok(order) = serde_json::from_slice::<OrderForm>(body) {
            self.order(&order);
        }
        if let Ok(authorization) = serde_json::from_slice::<AuthorizationForm>(body) {
            self.authorization(path, authorization);
        }
    }

    fn order(&mut self, form: &OrderForm) {
        let Some(finalize) = path_of(&form.finalize) else {
            return;
        };
        let order = Order {
            names: form.identifiers.iter().map(|one| one.value.clone()).collect(),
            authorizations: form.authorizations.iter().filter_map(|url| path_of(url)).collect(),
        };
        self.orders.insert(finalize, order);
    }

    fn authorization(&mut self, path: &str, form: AuthorizationForm) {
        let mut challenges = Vec::new();
        for challenge in form.challenges {
            let Some(of_challenge) = path_of(&challenge.url) else {
                continue;
            };
            let entry = self.challenges.entry(of_challenge.clone());
            entry.or_insert((challenge.kind, false)).1 |= challenge.status.as_deref() == Some("valid");
            challenges.push(of_challenge);
        }
        let wildcard = if form.wildcard { "*." } else { "" };
        let name = format!("{wildcard}{}", form.identifier.value);
        let authorization = Authorization { name, challenges };
        self.authorizations.insert(path.to_owned(), authorization);
    }

    /// The names of the order that this path finalises.
    pub(crate) fn finalized(&self, path: &str) -> Option<Vec<Proven>> {
        let order = self.orders.get(path)?;
        let proven = order.names.iter().map(|name| Proven {
            name: name.clone(),
            method: self.method(order, name),
        });
        Some(proven.collect())
    }

    /// The one challenge that was tried. An authorisation ends with the first that fails, so of one that is valid there is one alone.
    fn method(&self, order: &Order, name: &str) -> Option<String> {
        let authorizations = order
            .authorizations
            .iter()
            .filter_map(|path| self.authorizations.get(path));
        let mut of_name = authorizations.filter(|authorization| authorization.name == name);
        let challenges = of_name
            .next()?
            .challenges
            .iter()
            .filter_map(|path| self.challenges.get(path));
        let mut tried = challenges.filter(|(_, tried)| *tried);
        match (tried.next(), tried.next()) {
            (Some((kind, _)), None) => Some(kind.clone()),
            _ => None,
        }
    }
}

/// The account that signs a request: `kid` of its protected header.
pub(crate) fn account(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Jws {
        protected: String,
    }
    #[derive(Deserialize)]
    struct Protected {
        kid: String,
    }
    let jws: Jws = serde_json::from_slice(body).ok()?;
    let protected = Base64UrlUnpadded::decode_vec(&jws.protected).ok()?;
    let protected: Protected = serde_json::from_slice(&protected).ok()?;
    Some(protected.kid)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryForm {
    new_nonce: String,
}

#[derive(Deserialize)]
struct OrderForm {
    finalize: String,
    identifiers: Vec<Identifier>,
    authorizations: Vec<String>,
}

#[derive(Deserialize)]
struct AuthorizationForm {
    identifier: Identifier,
    challenges: Vec<ChallengeForm>,
    #[serde(default)]
    wildcard: bool,
}

#[derive(Deserialize)]
struct Identifier {
    value: String,
}

#[derive(Deserialize)]
struct ChallengeForm {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    status: Option<String>,
}

/// What follows the host in a URL.
fn path_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    rest.find('/').and_then(|at| rest.get(at..)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_knows_how_its_names_were_proven() {
        let mut seen = Observed::default();
        seen.reply(
            "/order",
            br#"{"status":"pending","finalize":"https://a/finalize/1","identifiers":[{"type":"dns","value":"a.example"},
                {"type":"dns","value":"*.a.example"}],"authorizations":["https://a/authz/1","https://a/authz/2"]}"#,
        );
        let challenges = |id: u8| {
            format!(
                r#""challenges":[{{"type":"http-01","url":"https://a/chall/{id}0"}},{{"type":"dns-01","url":"https://a/chall/{id}1"}}]"#
            )
        };
        let exact = format!(
            r#"{{"identifier":{{"type":"dns","value":"a.example"}},{}}}"#,
            challenges(1)
        );
        let wild = format!(
            r#"{{"wildcard":true,"identifier":{{"type":"dns","value":"a.example"}},{}}}"#,
            challenges(2)
        );
        seen.reply("/authz/1", exact.as_bytes());
        seen.reply("/authz/2", wild.as_bytes());
        seen.request("POST", "/chall/10");
        seen.request("POST", "/chall/21");
        let proven = seen.finalized("/finalize/1").unwrap();
        let methods: Vec<_> = proven
            .iter()
            .map(|one| (one.name.as_str(), one.method.as_deref()))
            .collect();
        assert_eq!(
            methods,
            [("a.example", Some("http-01")), ("*.a.example", Some("dns-01"))]
        );
        seen.request("POST", "/chall/11");
        assert_eq!(seen.finalized("/finalize/1").unwrap()[0].method, None, "two were tried");
        assert!(seen.finalized("/finalize/2").is_none());
    }

    #[test]
    fn the_account_is_the_one_that_signs() {
        let protected = Base64UrlUnpadded::encode_string(br#"{"alg":"ES256","kid":"https://a/acct/1","nonce":"n"}"#);
        let body = format!(r#"{{"protected":"{protected}","payload":"","signature":"s"}}"#);
        assert_eq!(account(body.as_bytes()).as_deref(), Some("https://a/acct/1"));
        for none in ["", "{}", r#"{"protected":"*"}"#, r#"{"protected":"e30"}"#] {
            assert_eq!(account(none.as_bytes()), None, "{none}");
        }
    }
}
