//! A proxy before a registry that delays, cuts, stalls, throttles and corrupts what goes through it, and counts it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What goes wrong. Places are counted from the beginning of the answer's body, or of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ill {
    /// The answer comes later.
    Delay(Duration),
    /// The connection ends within the headers of the answer.
    CutHead,
    /// It ends after as many bytes.
    Cut(usize),
    /// It ends after as many bytes of the request.
    CutRequest(usize),
    /// Nothing comes any more after as many bytes.
    Stall(usize),
    /// After as many bytes one comes at a time, with a pause between.
    Trickle(usize, Duration),
    /// This byte is another.
    Corrupt(usize),
}

struct Order {
    /// Stands in the head of the request: `GET /v2/a/blobs/`.
    request: String,
    ill: Ill,
    left: usize,
}

#[derive(Default)]
struct Shared {
    orders: Mutex<Vec<Order>>,
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    most: AtomicU64,
    open: AtomicU64,
    /// Bytes of an answer a second, of each connection.
    rate: Option<u64>,
}

/// It lasts as long as the test's process.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) fn before(target: SocketAddr) -> Self {
        Self::start(target, None)
    }

    /// Lets as many bytes a second come to a client by each connection.
    pub(crate) fn throttled(target: SocketAddr, rate: u64) -> Self {
        Self::start(target, Some(rate))
    }

    fn start(target: SocketAddr, rate: Option<u64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            rate,
            ..Shared::default()
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                // A side that goes away is no error here.
                thread::spawn(move || drop(pass_on(&client, target, &shared)));
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:port`, the domain of its images.
    pub(crate) fn domain(&self) -> String {
        self.address.to_string()
    }

    /// The next `times` requests in whose heads this stands fare ill.
    pub(crate) fn order(&self, request: &str, ill: Ill, times: usize) {
        self.shared.orders.lock().unwrap().push(Order {
            request: request.to_owned(),
            ill,
            left: times,
        });
    }

    /// How often what was ordered did not happen.
    pub(crate) fn outstanding(&self) -> usize {
        self.shared.orders.lock().unwrap().iter().map(|order| order.left).sum()
    }

    /// Bytes that came to clients.
    pub(crate) fn down(&self) -> u64 {
        self.shared.down.load(Ordering::SeqCst)
    }

    /// Bytes that clients sent.
    pub(crate) fn up(&self) -> u64 {
        self.shared.up.load(Ordering::SeqCst)
    }

    /// Connections at once, at most.
    pub(crate) fn most(&self) -> u64 {
        self.shared.most.load(Ordering::SeqCst)
    }
}

/// What goes wrong with the request that a connection is at.
#[derive(Default)]
struct Course {
    ill: Option<Ill>,
    /// Bytes of the answer so far, from its first on, and from that of its body on.
    head: usize,
    body: Option<usize>,
    /// Bytes of the request.
    sent: usize,
}

fn pass_on(client: &TcpStream, target: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    for side in [client, &server] {
        side.set_nodelay(true)?;
    }
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(open, Ordering::SeqCst);
    let course: Arc<Mutex<Course>> = Arc::default();
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    let of_thread = (Arc::clone(shared), Arc::clone(&course));
    let downward = thread::spawn(move || {
        drop(downward(&from_server, &to_client, &of_thread.0, &of_thread.1));
        let _ = from_server.shutdown(Shutdown::Both);
        to_client.shutdown(Shutdown::Both)
    });
    drop(upward(client, &server, shared, &course));
    drop(server.shutdown(Shutdown::Both));
    drop(client.shutdown(Shutdown::Both));
    drop(downward.join());
    shared.open.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

fn upward(mut client: &TcpStream, mut server: &TcpStream, shared: &Shared, course: &Mutex<Course>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        shared.up.fetch_add(count as u64, Ordering::SeqCst);
        let text = String::from_utf8_lossy(&buffer[..count]);
        let mut orders = shared.orders.lock().unwrap();
        let order = orders
            .iter_mut()
            .find(|order| order.left > 0 && text.contains(&order.request));
        let mut course = course.lock().unwrap();
        if let Some(order) = order {
            order.left -= 1;
            *course = Course {
                ill: Some(order.ill),
                ..Course::default()
            };
        } else if ["GET ", "HEAD ", "POST ", "PUT ", "PATCH "]
            .iter()
            .any(|method| text.starts_with(method))
        {
            *course = Course::default();
        }
        drop(orders);
        course.sent += count;
        if let Some(Ill::CutRequest(at)) = course.ill
            && course.sent > at
        {
            return Ok(());
        }
        drop(course);
        server.write_all(&buffer[..count])?;
    }
}

fn downward(mut server: &TcpStream, client: &TcpStream, shared: &Shared, course: &Mutex<Course>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let begun = Instant::now();
    let mut came = 0;
    loop {
        let most = shared
            .rate
            .map_or(buffer.len(), |rate| (rate / 50).clamp(1, 64 * 1024) as usize);
        let count = server.read(&mut buffer[..most])?;
        if count == 0 {
            return Ok(());
        }
        let bytes = &mut buffer[..count];
        let ill = ill_of(&mut course.lock().unwrap(), bytes);
        if !send(client, bytes, ill, shared)? {
            return Ok(());
        }
        came += count as u64;
        if let Some(rate) = shared.rate {
            let due = Duration::from_secs_f64(came as f64 / rate as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
}

/// What happens to these bytes of an answer, and after how many of them.
fn ill_of(course: &mut Course, bytes: &mut [u8]) -> Option<(Ill, usize)> {
    let ill = course.ill?;
    let (head, before) = (course.head, course.body);
    course.head += bytes.len();
    let begins = match before {
        Some(_) => Some(0),
        None => bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| at + 4),
    };
    let body = before.unwrap_or(0);
    if let Some(begins) = begins {
        course.body = Some(body + bytes.len() - begins);
    }
    // The place within these bytes.
    let place = |at: usize| {
        let place = (at + begins?).checked_sub(body)?;
        (place < bytes.len()).then_some(place)
    };
    match ill {
        Ill::Delay(_) if head == 0 => Some((ill, 0)),
        Ill::CutHead if head == 0 => Some((ill, bytes.len().min(20))),
        Ill::Cut(at) | Ill::Stall(at) => place(at).map(|place| (ill, place)),
        Ill::Trickle(at, _) => place(at).or_else(|| (body > at).then_some(0)).map(|place| (ill, place)),
        Ill::Corrupt(at) => {
            if let Some(place) = place(at) {
                bytes[place] ^= 1;
            }
            None
        }
        _ => None,
    }
}

/// Whether more may follow.
fn send(mut client: &TcpStream, bytes: &[u8], ill: Option<(Ill, usize)>, shared: &Shared) -> io::Result<bool> {
    let mut pass = |bytes: &[u8]| {
        shared.down.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        client.write_all(bytes)
    };
    let Some((ill, at)) = ill else {
        pass(bytes)?;
        return Ok(true);
    };
    if let Ill::Delay(time) = ill {
        thread::sleep(time);
    }
    pass(&bytes[..at])?;
    match ill {
        Ill::Cut(_) | Ill::CutHead => return Ok(false),
        Ill::Stall(_) => {
            // Until the client has enough of it, or for a minute, so that a test that fails does not hang.
            client.set_read_timeout(None)?;
            thread::sleep(Duration::from_secs(60));
            return Ok(false);
        }
        Ill::Trickle(_, pause) => {
            for byte in &bytes[at..] {
                thread::sleep(pause);
                pass(&[*byte])?;
            }
        }
        _ => pass(&bytes[at..])?,
    }
    Ok(true)
}
