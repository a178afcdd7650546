//! A small HTTP/1.1 server on threads, which can hold back, cut off and garble what it sends; and a smaller client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Opened once by the test; until then what waits at it stands still.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Stands still until the gate is open, or for a minute, so that a test that fails does not hang.
    pub(crate) fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        drop(
            self.0
                .1
                .wait_timeout_while(guard, Duration::from_secs(60), |open| !*open)
                .unwrap(),
        );
    }
}

/// What a client sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// As much of it as came.
    pub(crate) body: Vec<u8>,
    /// Whether all of the body came.
    pub(crate) is_whole: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A piece of a body, or something that happens between two of them.
#[derive(Clone)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Wait(Gate),
    Pause(Duration),
    /// The connection ends here, whatever `Content-Length` said.
    Close,
}

/// What `Content-Length` says.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    /// The truth.
    OfBody,
    /// Something else.
    Announced(usize),
    /// Nothing: the body goes on until the connection ends.
    UntilClose,
}

/// What the server sends.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<Piece>,
    pub(crate) length: Length,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self {
            status,
            headers,
            body: vec![Piece::Bytes(body.into())],
            length: Length::OfBody,
        }
    }

    /// An error of the distribution specification.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        Self::new(status, "application/json", body)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A server on a free loopback port; it ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let connections: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let handler = Arc::new(handler);
        let shared = (Arc::clone(&requests), Arc::clone(&connections), Arc::clone(&stop));
        let acceptor = thread::spawn(move || {
            let (requests, connections, stop) = shared;
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                connections.lock().unwrap().extend(stream.try_clone());
                let (requests, handler) = (Arc::clone(&requests), Arc::clone(&handler));
                // A client that goes away is no error here.
                thread::spawn(move || drop(serve(&stream, &requests, &*handler)));
            }
        });
        Self {
            address,
            requests,
            connections,
            stop,
            acceptor: Some(acceptor),
        }
    }

    /// Everything that was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests had this in their path.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.path.contains(part))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
        for connection in self.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

fn serve(
    stream: &TcpStream,
    requests: &Mutex<Vec<Request>>,
    handler: &(impl Fn(&Request) -> Reply + ?Sized),
) -> io::Result<()> {
    let mut first = [0];
    // A TLS greeting, from a client that tries https first: a server of plain HTTP is not polite about it either.
    if stream.peek(&mut first)? == 0 || first == [0x16] {
        return stream.shutdown(Shutdown::Both);
    }
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let reply = handler(&request);
        requests.lock().unwrap().push(request.clone());
        if !request.is_whole {
            return Ok(());
        }
        if !write_reply(stream, &request, &reply)? {
            return stream.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = read_headers(reader)?;
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let mut body = Vec::new();
    let is_whole = if is_chunked {
        read_chunks(reader, &mut body)
    } else {
        let length = length(&headers).unwrap_or(0);
        reader.by_ref().take(length as u64).read_to_end(&mut body).is_ok() && body.len() == length
    };
    Ok(Some(Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body,
        is_whole,
    }))
}

/// Reads a body in chunks (RFC 9112, section 7.1); whether it came to its end.
fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> bool {
    loop {
        let mut line = String::new();
        if !reader.read_line(&mut line).is_ok_and(|count| count > 0) {
            return false;
        }
        let Ok(size) = usize::from_str_radix(line.trim(), 16) else {
            return false;
        };
        let before = body.len();
        let read = reader.by_ref().take(size as u64).read_to_end(body);
        if read.is_err() || body.len() - before < size || reader.read_line(&mut String::new()).is_err() {
            return false;
        }
        if size == 0 {
            return true;
        }
    }
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(headers);
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }
}

fn length(headers: &[(String, String)]) -> Option<usize> {
    headers
        .iter()
        .find(|(name, _)| name == "content-length")?
        .1
        .parse()
        .ok()
}

/// Whether the connection may serve again.
fn write_reply(mut stream: &TcpStream, request: &Request, reply: &Reply) -> io::Result<bool> {
    let of_body: usize = reply
        .body
        .iter()
        .map(|piece| {
            if let Piece::Bytes(bytes) = piece {
                bytes.len()
            } else {
                0
            }
        })
        .sum();
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    match reply.length {
        Length::OfBody => head.push_str(&format!("Content-Length: {}\r\n", of_body)),
        Length::Announced(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        Length::UntilClose => head.push_str("Connection: close\r\n"),
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    for piece in &reply.body {
        match piece {
            Piece::Bytes(bytes) => stream.write_all(bytes)?,
            Piece::Wait(gate) => gate.wait(),
            Piece::Pause(time) => thread::sleep(*time),
            Piece::Close => return Ok(false),
        }
    }
    Ok(!matches!(reply.length, Length::UntilClose))
}

/// An answer: status, headers with names in lower case, body.
pub(crate) type Received = (u16, Vec<(String, String)>, Vec<u8>);

/// Sends one request on its own connection and reads the whole answer.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Received> {
    let mut stream = TcpStream::connect(address)?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes())?;
    stream.write_all(body)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let headers = read_headers(&mut reader)?;
    let mut body = Vec::new();
    match length(&headers) {
        Some(length) if method != "HEAD" => drop(reader.take(length as u64).read_to_end(&mut body)?),
        _ => drop(reader.read_to_end(&mut body)?),
    }
    Ok((status, headers, body))
}

/// A proxy that opens tunnels, all to the same server, whatever host is asked for. It lasts as long as the test's process.
pub(crate) fn tunnel_to(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || drop(tunnel(&client, target)));
        }
    });
    address
}

/// A proxy before a server that breaks connections off, as often as it is told to, when their clients have sent so many bytes.
/// It lasts as long as the test's process.
pub(crate) fn breaking_off(target: SocketAddr, after: usize, times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(Mutex::new(times));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let left = Arc::clone(&left);
            thread::spawn(move || drop(pass_on(&client, target, after, &left)));
        }
    });
    address
}

fn pass_on(client: &TcpStream, target: SocketAddr, after: usize, left: &Mutex<usize>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let downward = thread::spawn(move || {
        drop(io::copy(&mut from_server, &mut to_client));
        to_client.shutdown(Shutdown::Both)
    });
    let mut sent = 0;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = (&mut &*client).read(&mut buffer).unwrap_or(0);
        sent += count;
        let breaks = sent > after && {
            let mut left = left.lock().unwrap();
            let breaks = *left > 0;
            *left = left.saturating_sub(1);
            breaks
        };
        if count == 0 || breaks || (&mut &server).write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(server.shutdown(Shutdown::Both));
    drop(client.shutdown(Shutdown::Both));
    drop(downward.join());
    Ok(())
}

fn tunnel(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut request = Vec::new();
    // Byte by byte, so that nothing of what follows is taken.
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (&mut &*client).read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let server = TcpStream::connect(target)?;
    (&mut &*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upward = thread::spawn(move || {
        drop(io::copy(&mut from_client, &mut to_server));
        to_server.shutdown(Shutdown::Write)
    });
    drop(io::copy(&mut &server, &mut &*client));
    drop(client.shutdown(Shutdown::Both));
    drop(upward.join());
    Ok(())
}
