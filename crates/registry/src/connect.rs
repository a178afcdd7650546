//! Connections: name to address, perhaps through a proxy, perhaps with TLS on top.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::config::{ConfigError, Limits, Proxies};
use crate::endpoint::{InsecureRule, host_of};
use crate::error::{TransportError, connect_reason};
use crate::tls::{TlsConfigs, Trust};

/// An address that is not the last one gets this long before the next is tried.
const FALLBACK: Duration = Duration::from_secs(3);

/// Makes connections for the pool of one pull.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) limits: Arc<Limits>,
    pub(crate) rule: Arc<InsecureRule>,
    pub(crate) proxies: Arc<Matcher>,
    pub(crate) tls: Arc<TlsConfigs>,
}

/// The proxies of the configuration, checked.
pub(crate) fn proxies(config: &Proxies) -> Result<Matcher, ConfigError> {
    let mut builder = Matcher::builder().no(config.no_proxy.clone());
    for proxy in [&config.http, &config.https]
        .into_iter()
        .flatten()
        .filter(|proxy| !proxy.is_empty())
    {
        let refuse = |reason: &str| ConfigError::Proxy {
            proxy: proxy.clone(),
            reason: reason.to_owned(),
        };
        let uri: Uri = proxy.parse().map_err(|_| refuse("it cannot be parsed"))?;
        if !matches!(uri.scheme_str(), None | Some("http")) {
            return Err(refuse("only http proxies are supported"));
        }
    }
    if let Some(http) = &config.http {
        builder = builder.http(http.clone());
    }
    if let Some(https) = &config.https {
        builder = builder.https(https.clone());
    }
    Ok(builder.build())
}

impl Connector {
    /// The proxy on the way to a URL; the host itself is always reached directly.
    pub(crate) fn proxy(&self, uri: &Uri) -> Option<Intercept> {
        let host = host_of(uri.host()?);
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if is_local { None } else { self.proxies.intercept(uri) }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, TransportError> {
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let dialer = Dialer {
            limit: self.tls.peer(&authority).dial_timeout.unwrap_or(self.limits.connect),
        };
        let is_tls = uri.scheme_str() == Some("https");
        let proxy = self.proxy(&uri);
        let via_proxy = proxy.is_some() && !is_tls;
        let tcp = match proxy {
            Some(proxy) if is_tls => self.tunnel(dialer, &proxy, uri.clone()).await?,
            Some(proxy) => dialer.dial(proxy.uri().clone()).await?,
            None => dialer.dial(uri.clone()).await?,
        };
        let io: Box<dyn Io> = if is_tls {
            self.handshake(tcp.into_inner(), &uri).await?
        } else {
            Box::new(tcp.into_inner())
        };
        Ok(Stream {
            io: TokioIo::new(io),
            via_proxy,
        })
    }

    async fn tunnel(
        &self,
        dialer: Dialer,
        proxy: &Intercept,
        destination: Uri,
    ) -> Result<TokioIo<TcpStream>, TransportError> {
        let mut tunnel = Tunnel::new(proxy.uri().clone(), dialer);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let limit = self.limits.connect + self.limits.handshake;
        match timeout(limit, tunnel.call(destination)).await {
            Ok(Ok(tcp)) => Ok(tcp),
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Err(TransportError::Proxy { reason: cause })
            }
            Err(_) => Err(TransportError::Proxy {
                reason: "i/o timeout".to_owned(),
            }),
        }
    }

    async fn handshake(&self, tcp: TcpStream, uri: &Uri) -> Result<Box<dyn Io>, TransportError> {
        let authority = uri
            .authority()
            .map(|authority| authority.as_str().to_owned())
            .unwrap_or_default();
        let trust = if self.tls.peer(&authority).skip_verify || self.rule.applies_to(&authority).await {
            Trust::Unverified
        } else {
            Trust::Verified
        };
        let config = self.tls.config(&authority, trust).await?;
        let host = host_of(&authority).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| TransportError::NoSuchHost { host })?;
        match timeout(self.limits.handshake, TlsConnector::from(config).connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(handshake_error(error)),
            Err(_) => Err(TransportError::HandshakeTimeout),
        }
    }
}

/// The TLS library's error travels inside an I/O error.
fn handshake_error(error: io::Error) -> TransportError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .cloned();
    match tls {
        Some(source) => TransportError::Tls { source },
        None if error.kind() == io::ErrorKind::UnexpectedEof => TransportError::Http {
            reason: "EOF".to_owned(),
        },
        None => TransportError::Http {
            reason: error.to_string(),
        },
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<Stream, TransportError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Plain TCP to the host of a URL.
#[derive(Clone, Copy)]
struct Dialer {
    limit: Duration,
}

impl Dialer {
    async fn dial(self, uri: Uri) -> Result<TokioIo<TcpStream>, TransportError> {
        let host = host_of(uri.host().unwrap_or_default());
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let unknown = || TransportError::NoSuchHost { host: host.to_owned() };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
            .await
            .map_err(|_| unknown())?
            .collect();
        let mut last = unknown();
        for (index, address) in addresses.iter().enumerate() {
            let is_last = index + 1 == addresses.len();
            let limit = if is_last { self.limit } else { self.limit.min(FALLBACK) };
            let outcome = timeout(limit, TcpStream::connect(address)).await;
            let error = match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(tcp) => {
                    // A connection with Nagle's algorithm still works.
                    let _ = tcp.set_nodelay(true);
                    return Ok(TokioIo::new(tcp));
                }
                Err(error) => error,
            };
            last = TransportError::Connect {
                address: *address,
                reason: connect_reason(&error),
            };
        }
        Err(last)
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<TokioIo<TcpStream>, TransportError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.dial(uri))
    }
}

/// TCP, or TLS over it.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection as the pool keeps it.
pub(crate) struct Stream {
    io: TokioIo<Box<dyn Io>>,
    via_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.via_proxy)
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
