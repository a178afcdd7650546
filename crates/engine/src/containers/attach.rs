//! Clients that attach: their connections are handed to the monitor, so that they outlive the daemon.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conex_container::detach_keys;
use conex_container::state::State;
use conex_protocol::message::{Attachment, Framing, Streams};

use crate::containers::task::Order;
use crate::containers::{Container, execs, logs};
use crate::count::Counted;
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::requests::{AttachQuery, ClientConnection, ExecStart};

/// An attach that waits for the client's connection.
pub struct PendingAttach {
    inner: Arc<Inner>,
    container: Arc<Container>,
    query: AttachQuery,
    /// Counts until the connection is handed over.
    arriving: Counted,
    /// How many runs had ended when the client asked, where it asked for one that was going on.
    during: Option<u64>,
}

/// An exec that waits for the client's connection.
pub struct PendingExec {
    inner: Arc<Inner>,
    exec: String,
    request: ExecStart,
    tty: bool,
}

impl Engine {
    /// Prepares an attach; bad keys and containers are refused before the connection changes its protocol.
    pub async fn attach(&self, id: &str, query: AttachQuery) -> Result<PendingAttach> {
        let container = self.inner.containers.find(id)?;
        execs::require_unpaused(&container, id, "attach")?;
        if let Some(keys) = &query.detach_keys {
            parse_keys(keys)?;
        }
        let view = container.view();
        if matches!(view.state, State::Restarting(_)) {
            let words = format!("container {id} is restarting, wait until the container is running");
            return Err(Error::new(ErrorKind::Conflict, words));
        }
        Ok(PendingAttach {
            inner: self.inner.clone(),
            arriving: container.arriving.one_more(),
            during: view.state.is_running().then_some(view.exits),
            container,
            query,
        })
    }
}

impl PendingAttach {
    /// Whether bytes go to the client as they are.
    pub fn tty(&self) -> bool {
        self.container.config.tty
    }

    /// Hands the connection over.
    pub async fn connect(self, client: ClientConnection) -> Result<()> {
        let (query, container, arriving, during) = (self.query, self.container, self.arriving, self.during);
        let tty = container.config.tty;
        let client = if query.logs {
            logs::replay(&self.inner, &container, &query, client).await?
        } else {
            client
        };
        // As in Docker, whoever asks for no stream has nothing to wait for.
        if !query.stream || !(query.stdin || query.stdout || query.stderr) {
            return Ok(());
        }
        let streams = Streams {
            stdin: query.stdin && container.config.open_stdin,
            stdout: query.stdout,
            stderr: query.stderr,
        };
        let framing = if tty || query.unframed {
            Framing::Raw
        } else {
            Framing::Multiplexed
        };
        let (attachment, client) = attachment(client, streams, framing, query.detach_keys.as_deref(), tty)?;
        self.inner.events.container(&container, "attach", &[]);
        let attached = container
            .order(|reply| Order::Attach {
                attachment,
                client,
                during,
                reply,
            })
            .await;
        drop(arriving);
        attached
    }
}

impl PendingExec {
    pub(crate) fn new(inner: Arc<Inner>, exec: String, request: ExecStart, tty: bool) -> Self {
        Self {
            inner,
            exec,
            request,
            tty,
        }
    }

    /// Whether bytes go to the client as they are.
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// Starts the process with the client attached.
    pub async fn connect(self, client: ClientConnection) -> Result<()> {
        execs::start(&self.inner, &self.exec, self.request, Some(client)).await
    }
}

/// What the monitor is told about a client.
pub(crate) fn attachment(
    client: ClientConnection,
    streams: Streams,
    framing: Framing,
    keys: Option<&str>,
    tty: bool,
) -> Result<(Attachment, OwnedFd)> {
    let detach_keys = match (keys, tty) {
        (Some(keys), true) if !keys.is_empty() => parse_keys(keys)?,
        (_, true) => detach_keys::DEFAULT.to_vec(),
        (_, false) => Vec::new(),
    };
    let attachment = Attachment {
        streams,
        framing,
        preread: STANDARD.encode(&client.preread),
        detach_keys,
    };
    Ok((attachment, client.socket))
}

/// Parses a key sequence such as `ctrl-p,ctrl-q`.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<u8>> {
    detach_keys::parse(text).map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))
}
