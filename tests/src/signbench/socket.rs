//! A message and its answer over a unix socket, without any work: what a signature in another process costs before it is
//! made.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use super::subject::{SubjectError, Worker};

/// This end; the other is a process of its own, as a service is.
pub(super) struct PingPong {
    stream: UnixStream,
    request: Vec<u8>,
    reply: Vec<u8>,
    peer: Child,
}

impl PingPong {
    pub(super) fn open(request: usize, reply: usize) -> Result<Self, SubjectError> {
        let failed = |error| SubjectError::Io("bare socket".to_owned(), error);
        let (stream, other) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(["echo", &request.to_string(), &reply.to_string()])
            .stdin(Stdio::from(OwnedFd::from(other)));
        let peer = command.spawn().map_err(failed)?;
        Ok(Self {
            stream,
            request: vec![1; request],
            reply: vec![0; reply],
            peer,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.peer.id()
    }
}

impl Worker for PingPong {
    fn once(&mut self) -> Result<(), SubjectError> {
        let mut exchange = || {
            self.stream.write_all(&self.request)?;
            self.stream.read_exact(&mut self.reply)
        };
        exchange().map_err(|error| SubjectError::Io("bare socket".to_owned(), error))
    }
}

impl Drop for PingPong {
    fn drop(&mut self) {
        // The peer ends when the socket does.
        drop(self.stream.shutdown(std::net::Shutdown::Both));
        drop(self.peer.wait());
    }
}

/// The other end, on standard input: answers until the socket closes.
pub fn echo(request: usize, reply: usize) -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (mut question, answer) = (vec![0; request], vec![2; reply]);
    loop {
        match stream.read_exact(&mut question) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        stream.write_all(&answer)?;
    }
}
