//! HTTP/1.1, one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Inside;
use crate::answer::Refused;
use crate::operations;
use crate::request::{Head, Request};

/// Answers one request.
pub(crate) fn serve(inside: &Inside, connection: TcpStream) {
    let within = Some(Duration::from_secs(10));
    if connection.set_read_timeout(within).is_err() {
        return;
    }
    let mut reader = BufReader::new(connection);
    let Some((head, body)) = read(&mut reader) else { return };
    let answered = Request::verified(&inside.account, &head, &body).and_then(|request| {
        let answer = operations::answer(inside, &request)?;
        inside.note(&request.operation);
        Ok(answer)
    });
    let (status, body) = match answered {
        Ok(body) => (200, body),
        Err(refused) => (refused.status, Refused::xml(&refused)),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    drop(reader.get_mut().write_all(format!("{head}{body}").as_bytes())); // whoever asked may be gone
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<(Head, Vec<u8>)> {
    let mut line = || {
        let mut line = String::new();
        reader.by_ref().take(MAX_LINE).read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let request = line()?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > MAX_HEADERS {
            return None;
        }
    }
    let head = Head { method, path, headers };
    let length: u64 = head
        .header("content-length")?
        .parse()
        .ok()
        .filter(|length| *length <= MAX_BODY)?;
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    Some((head, body))
}

const MAX_LINE: u64 = 8_192;
const MAX_HEADERS: usize = 64;
/// A simulation names at most some hundred actions and resources.
const MAX_BODY: u64 = 1 << 20;
