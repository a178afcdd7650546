//! The name server of containers on networks that users made, at 127.0.0.11 in each of them.
//!
//! Its sockets are in the container's namespace and are read by two tasks of the daemon; they are opened again by a
//! daemon that comes later. Names of containers are answered from memory; what else is asked goes from the host to the
//! servers that the container, or else the host, was given.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conex_network::dns::{Query, QueryKind, Reply, Transport};
use conex_network::resolv_conf::ResolvConf;
use conex_network_driver::Resolver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::containers::resolution;
use crate::engine::Inner;
use crate::networks::Networks;

/// Port of name servers (RFC 1035, section 4.2).
const DNS: u16 = 53;

/// Longest datagram that is taken, in bytes: more than EDNS asks for (RFC 6891, section 6.2.5).
const LONGEST_DATAGRAM: usize = 4096;

/// How long a server may take before the next is asked, and how many are; clients give up after five seconds (resolv.conf(5)).
const SERVER_PATIENCE: Duration = Duration::from_secs(2);
const SERVERS: usize = 3;

/// Questions of one container that are on their way to servers, and streams of it that are open.
const PENDING: usize = 256;

/// How long a stream may be silent.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);

/// The running name servers, by their containers.
#[derive(Debug, Default)]
pub(crate) struct Resolvers {
    tasks: Mutex<HashMap<String, [JoinHandle<()>; 2]>>,
}

impl Resolvers {
    /// Ends the name server of a container: its sockets would keep the namespace.
    pub(crate) fn stop(&self, container: &str) {
        self.replace(container, None);
    }

    /// Whether a container has one.
    pub(crate) fn has(&self, container: &str) -> bool {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(container)
    }

    fn replace(&self, container: &str, tasks: Option<[JoinHandle<()>; 2]>) {
        let mut running = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match tasks {
            Some(tasks) => running.insert(container.to_owned(), tasks),
            None => running.remove(container),
        };
        for task in before.into_iter().flatten() {
            task.abort();
        }
    }
}

/// Serves a container's questions until it is stopped. The caller is in the event loop's context.
pub(crate) fn serve(engine: &Arc<Inner>, container: &str, resolver: Resolver) -> io::Result<()> {
    let udp = UdpSocket::from_std(resolver.udp)?;
    let tcp = TcpListener::from_std(resolver.tcp)?;
    let server = Server {
        engine: engine.clone(),
        container: Arc::from(container),
        pending: Arc::new(Semaphore::new(PENDING)),
    };
    let tasks = [
        tokio::spawn(server.clone().serve_datagrams(Arc::new(udp))),
        tokio::spawn(server.serve_streams(tcp)),
    ];
    engine.networks.resolvers.replace(container, Some(tasks));
    Ok(())
}

#[derive(Clone)]
struct Server {
    engine: Arc<Inner>,
    container: Arc<str>,
    pending: Arc<Semaphore>,
}

/// What is known of a question.
enum Known {
    Addresses(Vec<Ipv4Addr>),
    Name(String),
    Nothing,
    /// It is for other servers.
    Foreign,
    /// So it is, and the container must not reach them.
    Shut,
}

impl Server {
    async fn serve_datagrams(self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; LONGEST_DATAGRAM];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(container = %self.container, %error, "receive a question");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let message = buffer[..length].to_vec();
            let Some(query) = Query::parse(&message) else { continue };
            match self.local_answer(&message, &query, Transport::Datagram) {
                Some(answer) => send(&socket, &answer, from).await,
                None => {
                    // A container that floods servers waits for itself only: what is too much is dropped.
                    let Ok(permit) = self.pending.clone().try_acquire_owned() else {
                        continue;
                    };
                    let (server, socket) = (self.clone(), socket.clone());
                    tokio::spawn(async move {
                        let answer = server.forward(&message, &query, Transport::Datagram).await;
                        send(&socket, &answer, from).await;
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn serve_streams(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let Ok(permit) = self.pending.clone().try_acquire_owned() else {
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.serve_stream(stream).await {
                    tracing::debug!(container = %server.container, %error, "serve a stream of questions");
                }
                drop(permit);
            });
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let message = match tokio::time::timeout(STREAM_PATIENCE, read_framed(&mut stream)).await {
                Ok(Ok(message)) => message,
                // The end of the stream, or nothing any more.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            };
            let Some(query) = Query::parse(&message) else {
                return Ok(());
            };
            let answer = match self.local_answer(&message, &query, Transport::Stream) {
                Some(answer) => answer,
                None => self.forward(&message, &query, Transport::Stream).await,
            };
            write_framed(&mut stream, &answer).await?;
        }
    }

    /// The answer that needs nobody else.
    fn local_answer(&self, message: &[u8], query: &Query, transport: Transport) -> Option<Vec<u8>> {
        let known = self.engine.networks.resolve_name(&self.container, query);
        let reply = match &known {
            Known::Addresses(addresses) => Reply::Addresses(addresses),
            Known::Name(name) => Reply::Name(name),
            Known::Nothing => Reply::Nothing,
            Known::Shut => Reply::Failure,
            Known::Foreign => return None,
        };
        Some(query.answer(message, reply, transport))
    }

    async fn forward(&self, message: &[u8], query: &Query, transport: Transport) -> Vec<u8> {
        for server in self.servers().await.into_iter().take(SERVERS) {
            let asked = async {
                match transport {
                    Transport::Datagram => ask_by_datagram(server, message).await,
                    Transport::Stream => ask_by_stream(server, message).await,
                }
            };
            match tokio::time::timeout(SERVER_PATIENCE, asked).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => tracing::debug!(container = %self.container, %server, %error, "ask a name server"),
                Err(_) => tracing::debug!(container = %self.container, %server, "a name server does not answer"),
            }
        }
        query.answer(message, Reply::Failure, transport)
    }

    /// The servers that the container was given, else the host's as they are now.
    async fn servers(&self) -> Vec<SocketAddr> {
        let container = self.engine.containers.find(&self.container);
        let own: Vec<IpAddr> = container
            .map(|container| {
                container
                    .config
                    .host
                    .dns
                    .iter()
                    .filter_map(|server| server.parse().ok())
                    .collect()
            })
            .unwrap_or_default();
        let servers = if own.is_empty() {
            let read = tokio::task::spawn_blocking(resolution::host_servers);
            read.await.unwrap_or_default()
        } else {
            own
        };
        servers.into_iter().map(|server| SocketAddr::new(server, DNS)).collect()
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(answer, to).await {
        tracing::debug!(%error, "answer a question");
    }
}

async fn ask_by_datagram(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    // A port of its own for each question makes answers hard to forge (RFC 5452, section 9.2).
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer[..length].get(..2) == message.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_by_stream(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, message).await?;
    read_framed(&mut stream).await
}

/// A message of a stream has its length before it (RFC 1035, section 4.2.2).
async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

impl Networks {
    /// What a container may know of a name: those of containers on the networks that users made and that it is on.
    fn resolve_name(&self, container: &str, query: &Query) -> Known {
        let state = self.lock();
        let own = state
            .networks
            .values()
            .filter(|network| network.record.user_bridge().is_some() && network.endpoints.contains_key(container));
        let mut addresses = Vec::new();
        for network in own {
            let suffix = format!(".{}", network.record.name.to_lowercase());
            let bare = query.name.strip_suffix(suffix.as_str());
            let links = network.endpoints.get(container).map(|own| own.links.as_slice());
            let wanted = linked(links.unwrap_or_default(), &query.name);
            for endpoint in network.endpoints.values() {
                let Some(IpAddr::V4(address)) = endpoint.address() else {
                    continue;
                };
                if query.kind == QueryKind::Name(address) {
                    return Known::Name(format!("{}.{}", endpoint.container, network.record.name));
                }
                let is_called = |wanted: &str| endpoint.names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
                if is_called(wanted) || bare.is_some_and(is_called) {
                    addresses.push(address);
                }
            }
        }
        if !addresses.is_empty() {
            addresses.dedup();
            // Whoever takes the first shares the load with the others.
            let turn = self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
            return match query.kind {
                QueryKind::Ipv4 => Known::Addresses(addresses),
                // No server need be asked for what a container does not have.
                _ => Known::Nothing,
            };
        }
        let mut endpoints = state
            .networks
            .values()
            .filter_map(|network| network.endpoints.get(container));
        if endpoints.any(super::Endpoint::is_default) {
            Known::Foreign
        } else {
            Known::Shut
        }
    }
}

/// The name behind an alias of a link (`container:alias`), else the name itself.
fn linked<'a>(links: &'a [String], name: &'a str) -> &'a str {
    let mut pairs = links.iter().map(|link| link.split_once(':').unwrap_or((link, link)));
    let found = pairs.find(|(_, alias)| alias.eq_ignore_ascii_case(name));
    found.map_or(name, |(target, _)| target.trim_start_matches('/'))
}

/// The servers of a `resolv.conf` by their addresses.
pub(crate) fn servers_of(text: &str) -> Vec<IpAddr> {
    ResolvConf::parse(text)
        .servers()
        .iter()
        .filter_map(|server| server.parse().ok())
        .collect()
}
