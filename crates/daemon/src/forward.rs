//! The same program as the forwarder of logs: orders come on standard input, news go to standard output.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use tokio::io::BufReader;
use tokio::net::unix::pipe;

use crate::options::Options;

/// Forwards until the daemon is gone.
pub(crate) fn run(_: Options) -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().context("take the daemon's pipes");
    let (orders, news) = (own(std::io::stdin().as_fd())?, own(std::io::stdout().as_fd())?);
    runtime.block_on(async {
        let orders = pipe::Receiver::from_owned_fd(orders).context("read orders")?;
        let news = pipe::Sender::from_owned_fd(news).context("tell news")?;
        let forwarded = conex_forward::run(BufReader::new(orders), news).await;
        forwarded.context("forward logs")
    })
}
