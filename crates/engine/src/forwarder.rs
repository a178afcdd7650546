//! The forwarder: the process that sends logs to receivers elsewhere. It is started with the first log that it has to send,
//! started again when it dies, and ended when there is none left.
//!
//! Logs of containers that are removed before all of them has arrived go on from a directory of their own,
//! `<data-root>/spools/<id>`, where the order lies beside them for the daemon that comes next.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use conex_forward::{Follow, News, Order};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::containers::recovery;

/// The argument by which the daemon's program is the forwarder.
pub const FORWARD_LOGS: &str = "--forward-logs";

/// How long a forwarder that died is not started again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the log of a removed container waits for its receiver.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The name of an order beside its log.
const ORDER: &str = "order.json";

/// The way to the forwarder.
#[derive(Debug)]
pub(crate) struct Forwarder {
    orders: mpsc::UnboundedSender<Order>,
    /// Number of the next order.
    next: AtomicU64,
    /// Logs of removed containers.
    spools: PathBuf,
}

impl Forwarder {
    /// Prepares for logs; there is no process yet.
    pub(crate) fn open(data_root: &Path) -> Self {
        let (orders, queue) = mpsc::unbounded_channel();
        let spools = data_root.join("spools");
        let keeper = Keeper {
            orders: queue,
            spools: spools.clone(),
            followed: BTreeMap::new(),
        };
        tokio::spawn(keeper.serve());
        let next = AtomicU64::default();
        let forwarder = Self { orders, next, spools };
        forwarder.resume();
        forwarder
    }

    /// Has a log forwarded.
    pub(crate) fn follow(&self, mut follow: Follow) {
        follow.number = self.next.fetch_add(1, Ordering::Relaxed);
        self.tell(Order::Follow(Box::new(follow)));
    }

    /// Nothing is written to a log any more.
    pub(crate) fn ended(&self, name: &str) {
        self.tell(Order::Ended { name: name.to_owned() });
    }

    fn tell(&self, order: Order) {
        // The keeper lives as long as the engine.
        let _ = self.orders.send(order);
    }

    /// Takes the log of a container that is being removed to where it can wait for its receiver.
    ///
    /// # Errors
    /// Of the file system; the log is where it was.
    pub(crate) fn inherit(&self, mut follow: Follow) -> io::Result<()> {
        let Some(dir) = follow.log.parent().map(Path::to_owned) else {
            return Ok(());
        };
        if !dir.exists() {
            return Ok(());
        }
        let to = self.spools.join(&follow.name);
        let moved = |path: &Path| path.file_name().map(|name| to.join(name)).unwrap_or_default();
        (follow.log, follow.cursor, follow.live) = (moved(&follow.log), moved(&follow.cursor), false);
        recovery::publish(&dir.join(ORDER), &follow)?;
        fs::create_dir_all(&self.spools)?;
        fs::rename(&dir, &to)?;
        self.follow(follow);
        Ok(())
    }

    /// Goes on with what the last daemon inherited, and gives up what has waited for too long.
    fn resume(&self) {
        let entries = fs::read_dir(&self.spools).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let is_old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > LONGEST);
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            match recovery::load::<Follow>(&path.join(ORDER)) {
                Ok(Some(follow)) if !modified.is_ok_and(is_old) => self.follow(follow),
                outcome => {
                    tracing::warn!(path = %path.display(), ?outcome, "give up the log of a removed container");
                    discard(&path);
                }
            }
        }
    }
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(%error, "remove {}", path.display());
    }
}

/// Keeps the process alive as long as there is something to be forwarded.
struct Keeper {
    orders: mpsc::UnboundedReceiver<Order>,
    spools: PathBuf,
    followed: BTreeMap<String, Follow>,
}

/// A running forwarder.
struct Process {
    child: Child,
    orders: ChildStdin,
    news: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start() -> io::Result<Self> {
        // It is this program, also where another has taken its place on the disk.
        let mut child = Command::new("/proc/self/exe")
            .arg(FORWARD_LOGS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a forwarder without pipes");
        Ok(Self {
            orders: child.stdin.take().ok_or_else(missing)?,
            news: BufReader::new(child.stdout.take().ok_or_else(missing)?).lines(),
            child,
        })
    }

    async fn tell(&mut self, order: &Order) -> io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).await
    }
}

impl Keeper {
    async fn serve(mut self) {
        while let Some(order) = self.orders.recv().await {
            self.note(&order);
            while !self.followed.is_empty() {
                if let Err(error) = self.forward().await {
                    tracing::warn!(%error, "the forwarder of logs ended; it is started again");
                    tokio::time::sleep(PAUSE).await;
                }
                if self.orders.is_closed() {
                    return;
                }
            }
        }
    }

    /// Runs a forwarder until it dies, or until there is nothing to be forwarded.
    async fn forward(&mut self) -> io::Result<()> {
        let mut process = Process::start()?;
        for follow in self.followed.values() {
            process.tell(&Order::Follow(Box::new(follow.clone()))).await?;
        }
        while !self.followed.is_empty() {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => {
                        self.note(&order);
                        process.tell(&order).await?;
                    }
                    None => return Ok(()),
                },
                line = process.news.next_line() => match line? {
                    Some(line) => self.hear(&line),
                    None => return Err(io::Error::other(format!("{}", process.child.wait().await?))),
                },
            }
        }
        Ok(())
    }

    fn note(&mut self, order: &Order) {
        match order {
            Order::Follow(follow) => drop(self.followed.insert(follow.name.clone(), (**follow).clone())),
            Order::Ended { name } => {
                if let Some(follow) = self.followed.get_mut(name) {
                    follow.live = false;
                }
            }
        }
    }

    fn hear(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(News::Done { name, number }) => {
                // One that has been started again meanwhile goes on.
                let is_done = self.followed.get(&name).is_some_and(|follow| follow.number == number);
                if let Some(follow) = is_done.then(|| self.followed.remove(&name)).flatten()
                    && let Some(dir) = follow.log.parent()
                    && dir.starts_with(&self.spools)
                {
                    discard(dir);
                }
            }
            Err(error) => tracing::warn!(%error, line, "news of the forwarder that are none"),
        }
    }
}
