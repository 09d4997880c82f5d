//! As much of S3 as a bundle needs: objects of one bucket, over TLS, for requests that are signed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::ca::Certified;

/// The bucket `bundles`. Its threads end with the program.
pub(crate) struct S3 {
    pub(super) address: SocketAddr,
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl S3 {
    pub(super) fn start(server: &Certified) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(server.key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(server.leaf.clone())], key)
            .unwrap();
        let config = Arc::new(config);
        let objects = Arc::<Mutex<BTreeMap<String, Vec<u8>>>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&objects);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, objects) = (Arc::clone(&config), Arc::clone(&shared));
                std::thread::spawn(move || serve(config, stream, &objects));
            }
        });
        Self { address, objects }
    }

    pub(crate) fn put(&self, key: &str, object: Vec<u8>) {
        self.objects.lock().unwrap().insert(format!("/bundles/{key}"), object);
    }
}

fn serve(config: Arc<ServerConfig>, stream: TcpStream, objects: &Mutex<BTreeMap<String, Vec<u8>>>) -> Option<()> {
    let tls = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let mut reader = BufReader::new(tls);
    let (mut path, mut signed, mut line) = (None, false, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            text if path.is_none() => path = Some(text.split(' ').nth(1)?.to_owned()),
            text => {
                signed |= text
                    .to_ascii_lowercase()
                    .starts_with("authorization: aws4-hmac-sha256 ")
            }
        }
    }
    let (status, body) = match objects.lock().unwrap().get(&path?) {
        _ if !signed => ("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>".to_vec()),
        Some(object) => ("200 OK", object.clone()),
        None => ("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let tls = reader.get_mut();
    tls.write_all(head.as_bytes()).ok()?;
    tls.write_all(&body).ok()?;
    tls.conn.send_close_notify();
    tls.flush().ok()
}
