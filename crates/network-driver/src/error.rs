//! What goes wrong between the engine and the kernel's network.

use std::io;

/// A network operation that did not succeed; nothing of it is left unless the operation says so.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The kernel refused a request.
    #[error("{operation} {object}: {source}")]
    Netlink {
        /// What was asked for.
        operation: &'static str,
        /// The interface or table that it was asked of.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An interface of the bridge's name is there and is something else.
    #[error("existing interface {name} is not a bridge")]
    NotABridge {
        /// The name.
        name: String,
    },
    /// A network namespace could not be made or entered.
    #[error("{operation} network namespace: {source}")]
    Namespace {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A kernel parameter could not be read or written (sysctl(8)).
    #[error("{operation} {path}: {source}")]
    Sysctl {
        /// `read` or `write`.
        operation: &'static str,
        /// Path below `/proc/sys`.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no means to limit traffic.
    #[error("limit the rate of interface {interface}: this kernel has no {modules}: {source}")]
    Unlimitable {
        /// The host's interface of the connection.
        interface: String,
        /// The modules that it lacks, all or one of them.
        modules: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// nft(8) could not be run.
    #[error("run {program}: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// nft(8) refused the ruleset.
    #[error("apply firewall table {table}: {message}")]
    Ruleset {
        /// The table.
        table: &'static str,
        /// What nft said.
        message: String,
    },
}

/// Result of a network operation.
pub type Result<T> = std::result::Result<T, DriverError>;

pub(crate) fn netlink(operation: &'static str, object: &str) -> impl FnOnce(io::Error) -> DriverError {
    move |source| DriverError::Netlink {
        operation,
        object: object.to_owned(),
        source,
    }
}
