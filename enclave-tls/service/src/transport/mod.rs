//! One transport over unix sockets (by path and abstract) and vsock.

mod stream;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enclave_wire::address::Address;
use tokio::net::{UnixListener, UnixStream};
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener, VsockStream};

pub use stream::{Accepted, Stream};

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket; its path goes when the listener does.
    Unix(UnixListener, Option<SocketPath>),
    /// A vsock port, for any peer.
    Vsock(VsockListener),
}

impl Listener {
    /// Listens on `address`. Call it within a tokio runtime.
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::UnixPath(path) => {
                let path = SocketPath::prepare(path.as_ref())?;
                let listener = UnixListener::bind(&path.0)?;
                path.open_to_all()?;
                Ok(Self::Unix(listener, Some(path)))
            }
            Address::UnixAbstract(name) => Ok(Self::Unix(UnixListener::bind(abstract_path(name))?, None)),
            Address::Vsock { port, .. } => VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, *port)).map(Self::Vsock),
        }
    }

    /// Waits for the next connection. The peer's address is not told: it is no identity.
    pub async fn accept(&self) -> io::Result<Accepted> {
        Ok(Accepted(match self {
            Self::Unix(listener, _) => listener.accept().await?.0.into_std()?.into(),
            Self::Vsock(listener) => listener.accept().await?.0.into(),
        }))
    }
}

/// Connects to `address`, or gives up after `timeout`.
pub async fn dial(address: &Address, timeout: Duration) -> io::Result<Stream> {
    let connect = async {
        match address {
            Address::UnixPath(path) => Stream::new(UnixStream::connect(path).await?.into_std()?),
            Address::UnixAbstract(name) => Stream::new(UnixStream::connect(abstract_path(name)).await?.into_std()?),
            Address::Vsock { cid: Some(cid), port } => {
                Stream::new(VsockStream::connect(VsockAddr::new(*cid, *port)).await?)
            }
            Address::Vsock { cid: None, .. } => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    };
    within(timeout, connect).await
}

/// A unix socket is refused at once where nobody takes it; a vsock has a limit of its own, longer than ours.
async fn within<T>(timeout: Duration, connect: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(timeout, connect)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The path of a listening socket, unlinked on drop.
#[derive(Debug)]
pub struct SocketPath(PathBuf);

impl SocketPath {
    /// Takes away the socket that an earlier run left. Anything but a socket stays, and binding then fails.
    fn prepare(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
        Ok(Self(path.to_owned()))
    }

    /// Whoever reaches the directory may connect: identity is a credential, not a file's mode, and web servers run as many users.
    fn open_to_all(&self) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o666))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Nobody is left to tell, and the next run takes the file away too.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A path that begins with NUL is tokio's notation for Linux's abstract namespace.
fn abstract_path(name: &str) -> PathBuf {
    PathBuf::from(format!("\0{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn send(stream: &mut Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| stream.poll_write(cx, bytes)).await.unwrap();
            bytes = &bytes[sent..];
        }
    }

    async fn receive(stream: &mut Stream, count: usize) -> Vec<u8> {
        let (mut bytes, mut filled) = (vec![0; count], 0);
        while filled < count {
            let read = poll_fn(|cx| stream.poll_read(cx, &mut bytes[filled..])).await.unwrap();
            assert_ne!(read, 0);
            filled += read;
        }
        bytes
    }

    /// More than the kernel keeps for a reader that comes late: both sides meet a full socket.
    async fn echo_once(address: Address, dialled: Address) {
        let listener = Listener::bind(&address).unwrap();
        let sent: Vec<u8> = (0..2_000_000u32).map(|i| i.to_le_bytes()[(i % 3) as usize]).collect();
        let count = sent.len();
        let served = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().into_stream().unwrap();
            let bytes = receive(&mut stream, count).await;
            send(&mut stream, &bytes).await;
            let mut rest = [0; 8];
            assert_eq!(
                poll_fn(|cx| stream.poll_read(cx, &mut rest)).await.unwrap(),
                0,
                "the end"
            );
        });
        let mut stream = dial(&dialled, Duration::from_secs(1)).await.unwrap();
        send(&mut stream, &sent).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(sent == receive(&mut stream, count).await);
        assert!(stream.is_at_rest());
        drop(stream);
        served.await.unwrap();
    }

    #[tokio::test]
    async fn unix_sockets_by_path_and_abstract() {
        let directory = std::env::temp_dir().join(format!("enclave-tls-transport-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.sock");
        let address: Address = format!("unix:{}", path.display()).parse().unwrap();
        // A socket that an earlier run left behind is in nobody's way.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        echo_once(address.clone(), address).await;
        assert!(!path.exists(), "the path goes with the listener");
        let address: Address = format!("unix:@enclave-tls-transport-{}", std::process::id())
            .parse()
            .unwrap();
        echo_once(address.clone(), address).await;
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed() {
        let path = std::env::temp_dir().join(format!("enclave-tls-no-socket-{}", std::process::id()));
        std::fs::write(&path, "kept").unwrap();
        let address: Address = format!("unix:{}", path.display()).parse().unwrap();
        assert_eq!(
            Listener::bind(&address).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
        std::fs::remove_file(&path).unwrap();
    }

    /// threat_04: a backlog that is full never holds a dial beyond its deadline.
    #[tokio::test]
    async fn threat_04_dial_is_bounded() {
        let name = format!("enclave-tls-backlog-{}", std::process::id());
        let address: Address = format!("unix:@{name}").parse().unwrap();
        let _listener = Listener::bind(&address).unwrap();
        let mut kept = Vec::new();
        let begun = std::time::Instant::now();
        for _ in 0..5_000 {
            match dial(&address, Duration::from_millis(200)).await {
                Ok(stream) => kept.push(stream),
                Err(_) => {
                    assert!(begun.elapsed() < Duration::from_secs(5));
                    return;
                }
            }
        }
        panic!("the backlog never filled");
    }

    /// threat_04: nor does a peer that never answers, as a vsock's may not.
    #[tokio::test(start_paused = true)]
    async fn threat_04_a_peer_that_never_answers_is_given_up() {
        let never = std::future::pending::<io::Result<()>>();
        let given_up = within(Duration::from_secs(1), never);
        let given_up = tokio::time::timeout(Duration::from_secs(2), given_up).await;
        assert_eq!(given_up.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn vsock_loopback() {
        let listen = Address::Vsock {
            cid: None,
            port: 44_300,
        };
        // CID 1 is the machine itself, where the kernel has the loopback transport.
        let dialled = Address::Vsock {
            cid: Some(1),
            port: 44_300,
        };
        let probe = Listener::bind(&listen);
        let reason = match &probe {
            Err(error) => Some(format!("no vsock here: {error}")),
            Ok(_) => dial(&dialled, Duration::from_secs(1))
                .await
                .err()
                .map(|error| format!("no vsock peer here: {error}")),
        };
        drop(probe);
        match reason {
            Some(reason) => eprintln!("SKIPPED vsock_loopback: {reason}"),
            None => echo_once(listen, dialled).await,
        }
    }
}
