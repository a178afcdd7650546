//! Where a daemon listens.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Port of the API on TCP where none is named, as Docker has it.
const DEFAULT_PORT: u16 = 2375;

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://address:port`.
    Tcp(String),
}

/// A host that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unable to parse docker host `{host}`")]
pub struct EndpointError {
    /// What was given.
    pub host: String,
}

impl Endpoint {
    /// Parses `unix:///path`, `tcp://address[:port]` and `http://address[:port]`.
    pub fn parse(host: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError { host: host.to_owned() };
        let (scheme, rest) = host.split_once("://").ok_or_else(wrong)?;
        let rest = rest.trim_end_matches('/');
        match scheme {
            _ if rest.is_empty() => Err(wrong()),
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" => {
                let has_port = rest
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if has_port {
                    rest.to_owned()
                } else {
                    format!("{rest}:{DEFAULT_PORT}")
                }))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_dockers_client_writes_them() {
        assert_eq!(
            Endpoint::parse("unix:///run/x.sock"),
            Ok(Endpoint::Unix("/run/x.sock".into()))
        );
        assert_eq!(
            Endpoint::parse("tcp://10.0.0.1:99/"),
            Ok(Endpoint::Tcp("10.0.0.1:99".into()))
        );
        assert_eq!(Endpoint::parse("tcp://host"), Ok(Endpoint::Tcp("host:2375".into())));
        for wrong in ["", "/run/x.sock", "unix://", "unix://relative", "ftp://x"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
