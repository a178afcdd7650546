//! What clients ask of the engine, as values.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use conex_api_types::{ContainerCreateRequest, Filters, Platform};
use conex_stream::ByteStream;

/// A point in time: seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Seconds since 1970 with a fraction, or RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(time.into());
        }
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !fraction.bytes().all(|digit| digit.is_ascii_digit()) || fraction.len() > 9 {
            return None;
        }
        Some(Self {
            seconds: seconds.parse().ok()?,
            nanoseconds: format!("{fraction:0<9}").parse().ok()?,
        })
    }

    /// As `parse`, and also a duration before now (`10m`, `1h30m`) and a time of the host's zone (`2006-01-02T15:04:05`,
    /// `2006-01-02`).
    pub fn before(text: &str, now: jiff::Timestamp) -> Option<Self> {
        if let Some(time) = Self::parse(text) {
            return Some(time);
        }
        if let Ok(duration) = text.parse::<jiff::SignedDuration>() {
            return now.checked_sub(duration).ok().map(Self::from);
        }
        let local: jiff::civil::DateTime = text.parse().ok()?;
        let zoned = local.to_zoned(jiff::tz::TimeZone::system()).ok()?;
        Some(zoned.timestamp().into())
    }
}

impl Timestamp {
    /// The same as other parts of the engine count time; `None` where it is out of their range.
    pub(crate) fn to_jiff(self) -> Option<jiff::Timestamp> {
        let nanoseconds = i32::try_from(self.nanoseconds).ok()?;
        jiff::Timestamp::new(self.seconds, nanoseconds).ok()
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        Self {
            seconds: time.as_second(),
            nanoseconds: time.subsec_nanosecond().unsigned_abs(),
        }
    }
}

/// Which events a client wants.
#[derive(Debug, Clone, Default)]
pub struct EventsQuery {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after; the stream ends then.
    pub until: Option<Timestamp>,
    /// `type`, `event`, `container`, `image`, `label`, ...
    pub filters: Filters,
}

/// Of what a client wants to know the disk that it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataUsageQuery {
    /// Images and their layers.
    pub images: bool,
    /// Containers.
    pub containers: bool,
    /// Volumes.
    pub volumes: bool,
    /// What builds keep.
    pub build_cache: bool,
}

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// Name of the image, with or without tag or digest.
    pub from_image: String,
    /// Tag or digest, in the place of that of `from_image`. Where both have none, all tags are meant.
    pub tag: String,
    /// `os[/architecture[/variant]]`, that of the host where absent.
    pub platform: Option<String>,
    /// The `X-Registry-Auth` header as it came.
    pub auth: Option<String>,
}

/// What to push.
#[derive(Debug, Clone, Default)]
pub struct PushRequest {
    /// Name of the image, with or without tag.
    pub name: String,
    /// Tag; empty takes that of `name`, else all that there are.
    pub tag: String,
    /// What the image must have been built for.
    pub platform: Option<Platform>,
    /// The `X-Registry-Auth` header as it came.
    pub auth: Option<String>,
    /// The same as JSON, from clients of long ago.
    pub auth_body: Bytes,
}

/// What to search for in an index of images.
#[derive(Debug, Clone, Default)]
pub struct SearchRequest {
    /// Name or a part of it, with the host of the index where it is not Docker Hub's.
    pub term: String,
    /// Most results that are wanted; 0 says nothing.
    pub limit: Option<i64>,
    /// `is-official`, `stars`.
    pub filters: Filters,
    /// The `X-Registry-Auth` header as it came.
    pub auth: Option<String>,
}

/// What to make an image of a root file system of.
pub struct ImportRequest {
    /// Where the archive comes from.
    pub source: ImportSource,
    /// Name that the image gets; empty for none.
    pub repo: String,
    /// Its tag; empty takes that of `repo`, else `latest`.
    pub tag: String,
    /// A comment; empty tells where it came from.
    pub message: String,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// `os[/architecture[/variant]]`, that of the host where absent.
    pub platform: Option<String>,
}

/// Where an archive comes from.
pub enum ImportSource {
    /// The client sends it.
    Body(ByteStream),
    /// A server has it; without a scheme, it speaks HTTP.
    Url(String),
}

/// What to make an image of a container of.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The container.
    pub container: String,
    /// Name that the image gets; empty for none.
    pub repo: String,
    /// Its tag; empty takes that of `repo`, else `latest`.
    pub tag: String,
    /// A comment.
    pub comment: String,
    /// Who makes it.
    pub author: String,
    /// Freeze the container's processes meanwhile.
    pub pause: bool,
    /// One layer of all that the container shows, upon none.
    pub squash: bool,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// How containers of it run; what is left out is the container's.
    pub config: Option<ContainerCreateRequest>,
}

/// Which images a client wants listed.
#[derive(Debug, Clone, Default)]
pub struct ImagesQuery {
    /// Intermediate images as well.
    pub all: bool,
    /// `dangling`, `reference`, `label`, ...
    pub filters: Filters,
    /// Fill `SharedSize`.
    pub shared_size: bool,
    /// Count the containers of each.
    pub containers: bool,
    /// Tell the manifests under the names of each.
    pub manifests: bool,
}

/// Which containers a client wants listed.
#[derive(Debug, Clone, Default)]
pub struct ContainersQuery {
    /// Those that do not run as well.
    pub all: bool,
    /// The newest n only, whatever their state.
    pub limit: Option<usize>,
    /// Fill `SizeRw` and `SizeRootFs`.
    pub size: bool,
    /// `name`, `id`, `label`, `status`, `ancestor`, `exited`, ...
    pub filters: Filters,
}

/// How a container is to be stopped.
#[derive(Debug, Clone, Default)]
pub struct StopRequest {
    /// Signal, that of the container where absent.
    pub signal: Option<String>,
    /// Seconds before SIGKILL, -1 for never, that of the container where absent.
    pub timeout: Option<i64>,
}

/// How a container is to be removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveRequest {
    /// Kill it first.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
    /// Remove a link instead of the container.
    pub link: bool,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; at once where it does not.
    #[default]
    NotRunning,
    /// Its next exit.
    NextExit,
    /// Its removal.
    Removed,
}

/// Which part of a container's log a client wants.
#[derive(Debug, Clone, Default)]
pub struct LogsQuery {
    /// Go on as lines are written.
    pub follow: bool,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// The last n lines only.
    pub tail: Option<u64>,
    /// Put attributes before each line.
    pub details: bool,
    /// Lines come as they are even without a terminal.
    pub unframed: bool,
}

/// What a client attaches to.
#[derive(Debug, Clone, Default)]
pub struct AttachQuery {
    /// Replay the log first.
    pub logs: bool,
    /// Stay attached.
    pub stream: bool,
    /// Client to process.
    pub stdin: bool,
    /// Process to client.
    pub stdout: bool,
    /// Process to client.
    pub stderr: bool,
    /// Key sequence that detaches, `ctrl-p,ctrl-q` where absent.
    pub detach_keys: Option<String>,
    /// Output comes as it is even without a terminal.
    pub unframed: bool,
}

/// How an archive is to be unpacked in a container.
#[derive(Debug, Clone, Default)]
pub struct CopyRequest {
    /// The directory to unpack into.
    pub path: String,
    /// Everything belongs to the container's user; else to whom the archive says.
    pub copy_owner: bool,
    /// A directory is not replaced by something else, nor something else by a directory.
    pub keep_kinds: bool,
}

/// How an exec is to be started.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExecStart {
    /// Do not attach.
    pub detach: bool,
    /// The client expects a terminal.
    pub tty: bool,
    /// Rows and columns of the client's terminal.
    pub console_size: Option<(u16, u16)>,
}

/// A client's connection after the HTTP head was answered; it is handed to the container's monitor.
#[derive(Debug)]
pub struct ClientConnection {
    /// A connected stream socket.
    pub socket: OwnedFd,
    /// Bytes that the client sent behind its request and that were read already.
    pub preread: Bytes,
}
