//! What must be found: a server of signing frames whose time goes by its secret, and a line that delays the requests for one key.
//!
//! Both are strict about what they read and know one connection. Neither shares code with the service but the frames.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::lab::scratch::Scratch;
use e2e::lab::signing::Connection;
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::signing::{Reply, Request, Signature};
use enclave_wire::{KeyId, Writer};

/// A server on a socket of its own, until its client goes away.
pub(super) struct Leaky {
    scratch: Scratch,
    server: Option<JoinHandle<Result<()>>>,
}

impl Leaky {
    /// "Signs" with these secrets: raises two numbers to the powers of secret and input, by squaring and multiplying.
    pub(super) fn start(secrets: Vec<(KeyId, [u8; 32])>) -> Result<Self> {
        Self::listen(move |mut client| {
            while let Some((header, body)) = frame(&mut client, limit::SIGNING_REQUEST)? {
                let Request::Sign(sign) = Request::decode(&header, &body)? else {
                    bail!("it only signs");
                };
                let (_, secret) = secrets
                    .iter()
                    .find(|(key, _)| *key == sign.key)
                    .context("no such key")?;
                let mut signature = vec![0x5a; 64];
                signature[..8].copy_from_slice(&power(3, secret).to_be_bytes());
                signature[8..16].copy_from_slice(&power(5, sign.input).to_be_bytes());
                let reply = Reply::Signature(Signature {
                    key: sign.key,
                    mechanism: sign.mechanism,
                    input_len: u16::try_from(sign.input.len())?,
                    signature,
                });
                let mut writer = Writer::new();
                reply.write(&mut writer, header.request_id);
                client.write_all(&writer.into_bytes())?;
            }
            Ok(())
        })
    }

    /// Passes frames on to a service, and holds those back a little that name this key.
    pub(super) fn in_front_of(service: &str, slow: KeyId, delay: Duration) -> Result<Self> {
        let service = Connection::open(service)?.into_stream()?;
        Self::listen(move |client| pass(client, service, slow, delay))
    }

    pub(super) fn address(&self) -> String {
        format!("unix:{}", self.scratch.file("socket").display())
    }

    fn listen(serve: impl FnOnce(UnixStream) -> Result<()> + Send + 'static) -> Result<Self> {
        let scratch = Scratch::new()?;
        let listener = UnixListener::bind(scratch.file("socket"))?;
        let server = std::thread::spawn(move || serve(listener.accept()?.0));
        Ok(Self {
            scratch,
            server: Some(server),
        })
    }
}

impl Drop for Leaky {
    fn drop(&mut self) {
        // One that nobody came to would wait for ever.
        drop(UnixStream::connect(self.scratch.file("socket")));
        if let Some(Ok(Err(error))) = self.server.take().map(JoinHandle::join) {
            println!("  the control's server: {error:#}");
        }
    }
}

fn pass(mut client: UnixStream, mut service: UnixStream, slow: KeyId, delay: Duration) -> Result<()> {
    while let Some((header, body)) = frame(&mut client, limit::SIGNING_REQUEST)? {
        if let Ok(Request::Sign(sign)) = Request::decode(&header, &body)
            && sign.key == slow
        {
            let began = Instant::now();
            while began.elapsed() < delay {
                std::hint::spin_loop();
            }
        }
        service.write_all(&whole(&header, &body))?;
        let (header, body) = frame(&mut service, limit::SIGNING_REPLY)?.context("the service went away")?;
        client.write_all(&whole(&header, &body))?;
    }
    Ok(())
}

/// The next frame; none where the peer is gone.
fn frame(stream: &mut UnixStream, limit: usize) -> Result<Option<(Header, Vec<u8>)>> {
    let mut header = [0; HEADER_LEN];
    if stream.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..])?;
    let header = Header::decode(&header, limit)?;
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body)?;
    Ok(Some((header, body)))
}

fn whole(header: &Header, body: &[u8]) -> Vec<u8> {
    let writer = enclave_wire::frame::encode_with(header.operation, header.request_id, |writer| writer.put(body));
    writer.into_bytes()
}

/// Skips the multiplications of an exponent's zeros: what every library once did.
fn power(base: u64, exponent: &[u8]) -> u64 {
    let times = |one: u64, other: u64| {
        let product = u128::from(one) * u128::from(other) % u128::from(MODULUS);
        u64::try_from(product).unwrap_or_default()
    };
    let mut result = 1;
    for bit in exponent
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
    {
        result = times(result, result);
        if bit == 1 {
            result = times(result, base);
        }
    }
    result
}

/// 2^61 - 1, a prime.
const MODULUS: u64 = (1 << 61) - 1;
