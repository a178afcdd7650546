//! Logs on their way to receivers elsewhere.
//!
//! ```text
//!   monitor --> spool (bounded files) --> Delivery (one each) --> channel --> receiver
//!                                            |
//!                                            +--> cursor: what the receiver has, durable
//! ```
//!
//! The forwarder is a process of its own, which the daemon starts, feeds with orders and starts again when it dies. All that
//! it has to remember is in the spools: the entries, and beside them a cursor that is moved when entries have arrived. A
//! receiver that is down, a forwarder that is killed and a daemon that is away cost a container nothing; entries wait in the
//! spool, as many as it holds.
//!
//! Few protocols tell what has been stored. Where none does, entries count as arrived when the receiver's host has taken them
//! and the connection has lived on for a moment; when it breaks, all that have not are sent again. So each arrives at least
//! once.

mod batch;
mod channel;
mod connection;
mod delivery;
mod fluentd;
mod gelf;
mod journald;
mod msgpack;
mod order;
mod splunk;
mod syslog;
mod tls;

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::delivery::Delivery;
pub use crate::order::{About, Follow, News, Order};

/// A log that is followed.
struct Followed {
    follow: watch::Sender<Follow>,
    task: JoinHandle<()>,
}

impl Followed {
    fn goes_on_as(&self, follow: &Follow) -> bool {
        let own = self.follow.borrow();
        own.to == follow.to && own.about == follow.about && !self.task.is_finished()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries orders out, a line of JSON each, until there are no more; tells news in lines of JSON.
///
/// # Errors
/// Where the daemon is gone.
pub async fn run(orders: impl AsyncBufRead + Unpin, mut news: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut orders = orders.lines();
    let (tell, mut told) = mpsc::unbounded_channel::<News>();
    let mut followed: HashMap<String, Followed> = HashMap::new();
    loop {
        tokio::select! {
            line = orders.next_line() => match line? {
                Some(line) => match serde_json::from_str(&line) {
                    Ok(order) => carry_out(order, &mut followed, &tell),
                    Err(error) => tracing::warn!(%error, "an order that is none"),
                },
                None => return Ok(()),
            },
            Some(one) = told.recv() => {
                let News::Done { name, number } = &one;
                if followed.get(name).is_some_and(|followed| followed.follow.borrow().number == *number) {
                    followed.remove(name);
                }
                let mut line = serde_json::to_vec(&one)?;
                line.push(b'\n');
                news.write_all(&line).await?;
                news.flush().await?;
            }
        }
    }
}

fn carry_out(order: Order, followed: &mut HashMap<String, Followed>, tell: &mpsc::UnboundedSender<News>) {
    match order {
        Order::Follow(follow) => {
            let name = follow.name.clone();
            // One that is on its way to the same receiver goes on, over the same connection.
            if let Some(known) = followed.get(&name).filter(|known| known.goes_on_as(&follow)) {
                known.follow.send_replace(*follow);
                return;
            }
            let (follow, orders) = watch::channel(*follow);
            let task = tokio::spawn(Delivery::new(orders).serve(tell.clone()));
            followed.insert(name, Followed { follow, task });
        }
        Order::Ended { name } => {
            if let Some(one) = followed.get(&name) {
                one.follow.send_modify(|follow| follow.live = false);
            }
        }
    }
}
