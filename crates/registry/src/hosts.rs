//! `hosts.toml`: who is asked in a registry's place, as containerd documents it (`docs/hosts.md` there).
//!
//! ```text
//!   certs.d/<host[:port]>/hosts.toml, else certs.d/_default/hosts.toml
//!
//!   [host."https://first"]     asked in the order of the file, each for what it is capable of,
//!   [host."http://second"]     then the server: the one that is named, else the registry itself
//! ```
//!
//! Beyond containerd's keys there is `rewrite`, a table of regular expressions and what a repository's path becomes, as k3s has
//! it. A key that is not known is refused by its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use regex_lite::Regex;
use serde::Deserialize;

/// The file in a host's directory.
const FILE: &str = "hosts.toml";

/// The directory of hosts that have none.
const DEFAULT: &str = "_default";

/// What a host is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Capability {
    /// Content by its digest.
    Pull,
    /// What a tag means.
    Resolve,
    /// Content that it is to keep.
    Push,
}

impl Capability {
    pub(crate) const ALL: [Self; 3] = [Self::Pull, Self::Resolve, Self::Push];
}

/// Who is asked.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Its API: the URL of `/v2`, without a slash at the end.
    pub(crate) api: String,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) peer: Peer,
    /// What it gets to see with every request.
    pub(crate) headers: HeaderMap,
    pub(crate) rewrites: Vec<Rewrite>,
}

/// How a host is connected to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// Authorities that are trusted beside the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// What is shown to it: certificate and key, which may be in one file.
    pub(crate) identities: Vec<(PathBuf, PathBuf)>,
    pub(crate) skip_verify: bool,
    pub(crate) dial_timeout: Option<Duration>,
}

/// Another path for repositories that match.
#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    pattern: Regex,
    replacement: String,
}

/// What a file says: those in its order, and the server, where it names one or has something to say of it.
#[derive(Debug)]
pub(crate) struct Hosts {
    pub(crate) hosts: Vec<Host>,
    pub(crate) server: Server,
}

/// Who is asked at last.
#[derive(Debug)]
pub(crate) enum Server {
    Named(Host),
    /// The registry itself, so connected to, with these headers and so rewritten.
    Registry(Host),
}

/// A file that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct HostsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    // What `Fields` has, of the server. (Flattening would take unknown keys.)
    capabilities: Option<Vec<Capability>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    header: Option<toml::Table>,
    override_path: Option<bool>,
    dial_timeout: Option<String>,
    rewrite: Option<toml::Table>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Fields {
    capabilities: Option<Vec<Capability>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    header: Option<toml::Table>,
    override_path: Option<bool>,
    dial_timeout: Option<String>,
    rewrite: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        }
    }
}

/// What the directories say of a host: the first one that has a directory of it, else the first that has one for all.
pub(crate) fn load(roots: &[PathBuf], host: &str) -> Result<Option<Hosts>, HostsError> {
    let own = directory(roots, host);
    let directory = own.or_else(|| existing(roots.iter().map(|root| root.join(DEFAULT))));
    let Some(directory) = directory else { return Ok(None) };
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match parse(&text, &directory) {
            Ok(hosts) => Ok(Some(hosts)),
            Err(reason) => Err(HostsError { path, reason }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostsError {
            path,
            reason: error.to_string(),
        }),
    }
}

/// The directory of a host: its name, or with `_5000_` in place of `:5000`.
pub(crate) fn directory(roots: &[PathBuf], host: &str) -> Option<PathBuf> {
    // What is no name cannot lead out of the roots.
    if host.is_empty() || host.contains('/') || host.starts_with('.') {
        return None;
    }
    let flat = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|(name, port)| format!("{name}_{port}_"));
    let of_root = |root: &PathBuf| {
        flat.iter()
            .map(|flat| root.join(flat))
            .chain([root.join(host)])
            .collect::<Vec<_>>()
    };
    existing(roots.iter().flat_map(of_root))
}

fn existing(mut directories: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    directories.find(|directory| directory.is_dir())
}

fn parse(text: &str, directory: &Path) -> Result<Hosts, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}{}", error.message())
    })?;
    let named = |url: &str, reason: String| format!("host.{url:?}: {reason}");
    let mut hosts = Vec::new();
    for (url, value) in file.host {
        let fields: Fields = value
            .try_into()
            .map_err(|error: toml::de::Error| named(&url, error.message().to_owned()))?;
        hosts.push(host(&url, fields, directory).map_err(|reason| named(&url, reason))?);
    }
    let fields = Fields {
        capabilities: file.capabilities,
        ca: file.ca,
        client: file.client,
        skip_verify: file.skip_verify,
        header: file.header,
        override_path: file.override_path,
        dial_timeout: file.dial_timeout,
        rewrite: file.rewrite,
    };
    let server = match file.server {
        Some(url) => {
            Server::Named(host(&url, fields, directory).map_err(|reason| format!("server {url:?}: {reason}"))?)
        }
        None if fields.override_path == Some(true) => return Err("override_path without server".to_owned()),
        None => Server::Registry(described(String::new(), fields, directory)?),
    };
    Ok(Hosts { hosts, server })
}

fn host(url: &str, fields: Fields, directory: &Path) -> Result<Host, String> {
    let api = api(url, fields.override_path.unwrap_or_default())?;
    described(api, fields, directory)
}

fn described(api: String, fields: Fields, directory: &Path) -> Result<Host, String> {
    let authorities = fields.ca.map(OneOrMore::into_vec).unwrap_or_default();
    let dial_timeout = fields.dial_timeout.as_deref().map(duration).transpose()?;
    Ok(Host {
        api,
        capabilities: match fields.capabilities {
            Some(capabilities) if !capabilities.is_empty() => capabilities,
            _ => Capability::ALL.to_vec(),
        },
        peer: Peer {
            authorities: authorities.iter().map(|path| directory.join(path)).collect(),
            identities: fields
                .client
                .map(|value| identities(value, directory))
                .transpose()?
                .unwrap_or_default(),
            skip_verify: fields.skip_verify.unwrap_or_default(),
            dial_timeout,
        },
        headers: headers(fields.header.unwrap_or_default())?,
        rewrites: rewrites(fields.rewrite.unwrap_or_default())?,
    })
}

/// The URL of a host's API. What has no scheme is https; `/v2` is added where it is not there and is not to be left out.
fn api(url: &str, override_path: bool) -> Result<String, String> {
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    let uri: Uri = url.parse().map_err(|error| format!("invalid URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("unsupported scheme: it is neither http nor https".to_owned());
    }
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if uri.query().is_some() || authority.is_empty() || authority.contains('@') {
        return Err("invalid URL: a host, perhaps with a port and a path, is wanted".to_owned());
    }
    let base = url.trim_end_matches('/');
    Ok(if override_path || uri.path().trim_end_matches('/').ends_with("/v2") {
        base.to_owned()
    } else {
        format!("{base}/v2")
    })
}

/// A path, paths, or pairs of paths; the key of one that is alone is in its file.
fn identities(value: toml::Value, directory: &Path) -> Result<Vec<(PathBuf, PathBuf)>, String> {
    let wrong = || "client: a path, an array of paths or an array of pairs of paths is wanted".to_owned();
    let entries = match value {
        toml::Value::Array(entries) => entries,
        one => vec![one],
    };
    let identity = |entry: toml::Value| match entry {
        toml::Value::String(both) => Ok((directory.join(&both), directory.join(&both))),
        toml::Value::Array(pair) => {
            let paths: Option<Vec<&str>> = pair.iter().map(toml::Value::as_str).collect();
            match paths.as_deref() {
                Some([both] | [both, ""]) => Ok((directory.join(both), directory.join(both))),
                Some([certificate, key]) => Ok((directory.join(certificate), directory.join(key))),
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    };
    entries.into_iter().map(identity).collect()
}

fn headers(table: toml::Table) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in table {
        let wrong = |what: &str| format!("header {name:?}: {what}");
        let parsed = HeaderName::try_from(&name).map_err(|_| wrong("no name of a header"))?;
        let values: OneOrMore = value
            .try_into()
            .map_err(|_| wrong("a text or an array of texts is wanted"))?;
        for value in values.into_vec() {
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong("no value of a header"))?;
            value.set_sensitive(true);
            headers.append(parsed.clone(), value);
        }
    }
    Ok(headers)
}

fn rewrites(table: toml::Table) -> Result<Vec<Rewrite>, String> {
    let rewrite = |(pattern, replacement): (String, toml::Value)| {
        let wrong = |what: String| format!("rewrite {pattern:?}: {what}");
        let replacement = replacement
            .as_str()
            .ok_or_else(|| wrong("a text is wanted".to_owned()))?
            .to_owned();
        let pattern = Regex::new(&pattern).map_err(|error| wrong(error.to_string()))?;
        Ok(Rewrite { pattern, replacement })
    };
    table.into_iter().map(rewrite).collect()
}

/// A duration as Go writes it: `30s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("dial_timeout: invalid duration {text:?}");
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(digits);
        let end = unit
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        sum += Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())?;
        rest = after;
    }
    if sum.is_zero() { Err(wrong()) } else { Ok(sum) }
}

/// The path of a repository at a host: the first rule that matches decides.
pub(crate) fn rewritten(rewrites: &[Rewrite], path: &str) -> String {
    let rule = rewrites.iter().find(|rule| rule.pattern.is_match(path));
    rule.map_or_else(
        || path.to_owned(),
        |rule| rule.pattern.replace_all(path, rule.replacement.as_str()).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Hosts, String> {
        parse(text, Path::new("/certs"))
    }

    #[test]
    fn hosts_come_in_the_order_of_the_file_and_the_server_last() {
        let hosts = parsed(
            r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example"]
              capabilities = ["pull"]
            [host."http://a.example:5000/hub/"]
              capabilities = ["pull", "resolve"]
              ca = "mirror.crt"
              client = [["c.cert", "/k.key"], ["both.pem", ""]]
              skip_verify = true
              dial_timeout = "1m1.5s"
              [host."http://a.example:5000/hub/".header]
                x-one = "1"
                x-two = ["2", "3"]
              [host."http://a.example:5000/hub/".rewrite]
                "^library/(.*)" = "hub/$1"
                "^library/busybox$" = "never"
            [host."m.example/proxy/v2"]
            [host."https://p.example/api"]
              override_path = true
            "#,
        )
        .unwrap();
        let apis: Vec<&str> = hosts.hosts.iter().map(|host| host.api.as_str()).collect();
        let expected = [
            "https://z.example/v2",
            "http://a.example:5000/hub/v2",
            "https://m.example/proxy/v2",
            "https://p.example/api",
        ];
        assert_eq!(apis, expected);
        assert!(matches!(&hosts.server, Server::Named(host) if host.api == "https://registry-1.docker.io/v2"));
        assert_eq!(hosts.hosts[0].capabilities, [Capability::Pull]);
        assert_eq!(hosts.hosts[2].capabilities, Capability::ALL);
        let mirror = &hosts.hosts[1];
        assert_eq!(mirror.peer.authorities, [Path::new("/certs/mirror.crt")]);
        let pair = |one: &str, other: &str| (PathBuf::from(one), PathBuf::from(other));
        let pairs = [
            pair("/certs/c.cert", "/k.key"),
            pair("/certs/both.pem", "/certs/both.pem"),
        ];
        assert_eq!(mirror.peer.identities, pairs);
        assert!(mirror.peer.skip_verify);
        assert_eq!(mirror.peer.dial_timeout, Some(Duration::from_millis(61_500)));
        let two: Vec<_> = mirror.headers.get_all("x-two").iter().collect();
        assert_eq!((two.len(), mirror.headers.len()), (2, 3));
        assert_eq!(rewritten(&mirror.rewrites, "library/busybox"), "hub/busybox");
        assert_eq!(rewritten(&mirror.rewrites, "team/library/x"), "team/library/x");
    }

    #[test]
    fn what_is_said_without_a_server_is_of_the_registry_itself() {
        let hosts = parsed("ca = [\"/a\", \"b\"]\n[header]\nx = \"1\"").unwrap();
        let Server::Registry(host) = hosts.server else {
            panic!("named")
        };
        assert_eq!(host.peer.authorities, [Path::new("/a"), Path::new("/certs/b")]);
        assert_eq!((hosts.hosts.len(), host.headers.len()), (0, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("mirror = \"x\"", "unknown field `mirror`"),
            (
                "\n[host.\"https://a\"]\nproxy = \"x\"",
                "host.\"https://a\": unknown field `proxy`",
            ),
            (
                "[host.\"https://a\"]\ncapabilities = [\"fetch\"]",
                "unknown variant `fetch`",
            ),
            ("[host.\"ftp://a\"]", "host.\"ftp://a\": unsupported scheme"),
            ("server = \"https://u@a\"", "server \"https://u@a\": invalid URL"),
            ("[host.\"https://\"]", "invalid URL"),
            ("client = 7", "client: a path"),
            ("client = [[\"a\", \"b\", \"c\"]]", "client: a path"),
            ("dial_timeout = \"5\"", "dial_timeout: invalid duration \"5\""),
            ("dial_timeout = \"0s\"", "dial_timeout: invalid duration"),
            ("[rewrite]\n\"(\" = \"x\"", "rewrite \"(\""),
            ("[rewrite]\n\"a\" = 7", "rewrite \"a\": a text"),
            ("[header]\n\"a b\" = \"x\"", "header \"a b\""),
            ("[header]\na = 7", "header \"a\": a text"),
            ("override_path = true", "override_path without server"),
            ("server = ", "line 1: "),
            ("skip_verify = true\nskip_verify = true", "line 2: "),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn the_directory_of_a_host_settles_it_and_others_have_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [dir.path().join("first"), dir.path().join("second")];
        let write = |root: usize, host: &str, text: &str| {
            let directory = roots[root].join(host);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(FILE), text).unwrap();
        };
        assert!(load(&roots, "reg.example:5000").unwrap().is_none());
        write(1, DEFAULT, "server = \"default\"");
        write(1, "reg.example:5000", "server = \"second\"");
        let server = |host: &str| match load(&roots, host).unwrap().unwrap().server {
            Server::Named(host) => host.api,
            Server::Registry(_) => String::new(),
        };
        assert_eq!(server("reg.example:5000"), "https://second/v2");
        assert_eq!(server("reg.example"), "https://default/v2");
        write(0, "reg.example_5000_", "server = \"first\"");
        assert_eq!(server("reg.example:5000"), "https://first/v2");
        // One of certificates alone.
        fs::create_dir_all(roots[1].join("certs.example")).unwrap();
        assert!(load(&roots, "certs.example").unwrap().is_none());
        write(1, "bad.example", "x = 1");
        let error = load(&roots, "bad.example").unwrap_err().to_string();
        assert!(
            error.contains("bad.example/hosts.toml: line 1: unknown field `x`"),
            "{error}"
        );
        assert_eq!(directory(&roots, "../second"), None);
    }
}
