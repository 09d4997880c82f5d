//! A pebble of a test's own, and what an enclave does with it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use enclave_acme::{
    Account, AcmeError, AuthorizationState, ChallengeKind, LIMITS, NewOrder, Order, Registration, Server, Signer,
    Transport,
};
use enclave_https::{BoxFuture, BoxIo, Egress, Https, Session};
use enclave_wire::DnsName;
use lab_pebble::{Options, Pebble, Programs};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A pebble that ends with the test.
pub(crate) struct Ca {
    pub(crate) pebble: Pebble,
    dir: PathBuf,
}

impl Ca {
    /// None: there is no pebble, and the test says that it was skipped.
    pub(crate) fn start(test: &str, options: &Options) -> Option<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let Some(programs) = Programs::of_environment() else {
            println!("SKIPPED {test}: {}", Programs::MISSING);
            return None;
        };
        let number = STARTED.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("enclave-acme-{}-{number}", std::process::id()));
        let pebble = Pebble::start(&programs, &dir, options).unwrap();
        Some(Self { pebble, dir })
    }

    /// TLS from inside the enclave, over the egress plane's loopback.
    pub(crate) fn session(&self) -> Session {
        let root = self.pebble.root().to_vec();
        Arc::new(Https::new(Arc::new(Loopback), &[root], Arc::new(now), LIMITS).unwrap()).session()
    }

    /// By another address of the server's.
    pub(crate) async fn server_at(&self, directory: &str, time: Duration) -> Result<Server, AcmeError> {
        let deadline = Instant::now() + time;
        Server::connect(
            Box::new(self.session()),
            Arc::new(now),
            directory.parse().unwrap(),
            deadline,
        )
        .await
    }

    pub(crate) async fn server(&self) -> Server {
        self.server_over(Box::new(self.session()), Duration::from_secs(120))
            .await
            .unwrap()
    }

    /// Over another transport, with so much time.
    pub(crate) async fn server_over(&self, transport: Box<dyn Transport>, time: Duration) -> Result<Server, AcmeError> {
        let directory = self.pebble.directory().parse().unwrap();
        Server::connect(transport, Arc::new(now), directory, Instant::now() + time).await
    }

    /// Proves what the order wants, through pebble's DNS and challenge server. How many names that were.
    pub(crate) async fn prove(
        &self,
        account: &Account<'_>,
        order: &Order,
        kind: ChallengeKind,
    ) -> Result<usize, AcmeError> {
        let mut proven = 0;
        for authorization in account.authorizations(order).await? {
            let Some(challenge) = authorization.challenge(kind)? else {
                assert_eq!(authorization.state, AuthorizationState::Valid);
                continue;
            };
            match kind {
                ChallengeKind::Http01 => self.pebble.add_http01(&challenge.token, &challenge.answer).unwrap(),
                ChallengeKind::Dns01 => {
                    let name = format!("_acme-challenge.{}", authorization.name);
                    self.pebble.set_txt(&name, &challenge.answer).unwrap();
                }
            }
            account.validate(&authorization, challenge).await?;
            proven += 1;
        }
        Ok(proven)
    }

    /// A certificate's order, proven and done.
    pub(crate) async fn issued(&self, account: &Account<'_>, order: &NewOrder) -> Result<Order, AcmeError> {
        let names = order.names.clone();
        let order = account.order(order).await?;
        self.prove(account, &order, ChallengeKind::Http01).await?;
        account.finalize(&order, &csr(&names)).await
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

pub(crate) async fn registered<'a>(server: &'a Server, signer: &'a dyn Signer) -> Account<'a> {
    let registration = Registration {
        contacts: vec!["mailto:tls@a.example".to_owned()],
        terms_agreed: true,
        binding: None,
    };
    server.register(signer, &registration).await.unwrap()
}

pub(crate) fn order_of(names: &[&str]) -> NewOrder {
    NewOrder {
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        profile: None,
        replaces: None,
    }
}

/// A request of a new key.
pub(crate) fn csr(names: &[DnsName]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec()
}

pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

struct Loopback;

impl Egress for Loopback {
    fn connect(&self, host: &DnsName, port: u16) -> BoxFuture<io::Result<BoxIo>> {
        assert_eq!(
            host.as_str(),
            "localhost",
            "the enclave asks for no other host than the directory's"
        );
        Box::pin(async move { Ok(Box::new(TcpStream::connect(("127.0.0.1", port)).await?) as BoxIo) })
    }
}
