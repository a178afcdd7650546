//! A token server: gives signed tokens (RFC 7519, RS256) that the real registry accepts, for name and password.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::encoding::{self, base64url, basic, field};
use super::http::{Reply, Request, Server};

const SERVICE: &str = "test-registry";
const ISSUER: &str = "test-issuer";

/// Who may have a token.
#[derive(Clone)]
pub(crate) enum Policy {
    /// Everybody, for pulling.
    Anonymous,
    /// One account, for everything; others get tokens that allow nothing.
    Account { username: String, password: String },
    /// As `Account`, but who does not give name and password is refused with 401.
    Strict { username: String, password: String },
    /// Who posts this refresh token.
    Identity(String),
}

/// The running server; it ends when dropped.
pub(crate) struct TokenServer {
    pub(crate) server: Server,
    signer: Arc<Signer>,
}

struct Signer {
    key: PathBuf,
    certificate: PathBuf,
    /// The certificate in base64 of DER, as the token's header has it.
    chain: String,
}

impl TokenServer {
    /// Makes a key in `directory` and starts.
    pub(crate) fn start(directory: &Path, policy: Policy) -> Self {
        fs::create_dir_all(directory).unwrap();
        let signer = Arc::new(Signer::create(directory));
        let shared = Arc::clone(&signer);
        Self {
            server: Server::start(move |request| answer(request, &policy, &shared)),
            signer,
        }
    }

    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.server.address)
    }

    pub(crate) fn service(&self) -> &'static str {
        SERVICE
    }

    pub(crate) fn issuer(&self) -> &'static str {
        ISSUER
    }

    /// What the registry is to trust.
    pub(crate) fn certificate(&self) -> &Path {
        &self.signer.certificate
    }

    /// `Bearer ...` for pushing to a repository in a test's preparations.
    pub(crate) fn authorization(&self, repository: &str) -> String {
        format!(
            "Bearer {}",
            self.signer.token(&[repository.to_owned()], &["pull", "push"])
        )
    }
}

fn answer(request: &Request, policy: &Policy, signer: &Signer) -> Reply {
    let fields = if request.method == "POST" {
        String::from_utf8_lossy(&request.body).into_owned()
    } else {
        request.query.clone()
    };
    // A query has a field for each scope, a form all of them in one.
    let scopes = encoding::fields(&fields, "scope").join(" ");
    let repositories: Vec<String> = scopes
        .split(' ')
        .filter_map(|scope| scope.split(':').nth(1))
        .map(str::to_owned)
        .collect();
    let is =
        |username: &str, password: &str| request.header("authorization") == Some(basic(username, password).as_str());
    let actions: &[&str] = match policy {
        Policy::Anonymous => &["pull"],
        Policy::Account { username, password } | Policy::Strict { username, password } if is(username, password) => {
            &["pull", "push"]
        }
        Policy::Account { .. } => &[],
        Policy::Identity(token)
            if request.method == "POST"
                && field(&fields, "grant_type").as_deref() == Some("refresh_token")
                && field(&fields, "refresh_token").as_ref() == Some(token) =>
        {
            &["pull"]
        }
        Policy::Strict { .. } | Policy::Identity(_) => {
            return Reply::new(
                401,
                "application/json",
                r#"{"details":"incorrect username or password"}"#,
            );
        }
    };
    // The OAuth2 answer names the token otherwise.
    let name = if request.method == "POST" {
        "access_token"
    } else {
        "token"
    };
    let token = signer.token(&repositories, actions);
    Reply::new(
        200,
        "application/json",
        format!(r#"{{"{name}":"{token}","expires_in":300}}"#),
    )
}

impl Signer {
    fn create(directory: &Path) -> Self {
        let (key, certificate) = (directory.join("token.key"), directory.join("token.crt"));
        self_signed(&key, &certificate, "token-signer");
        let pem = fs::read_to_string(&certificate).unwrap();
        let chain = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        Self {
            key,
            certificate,
            chain,
        }
    }

    fn token(&self, repositories: &[String], actions: &[&str]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{}"]}}"#, self.chain);
        let entry = |repository: &String| {
            format!(
                r#"{{"type":"repository","name":"{repository}","actions":["{}"]}}"#,
                actions.join(r#"",""#)
            )
        };
        let allowed = repositories.iter().filter(|_| !actions.is_empty());
        let access = allowed.map(entry).collect::<Vec<_>>().join(",");
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"","aud":"{SERVICE}","exp":{},"nbf":{},"iat":{now},"jti":"{now}","access":[{access}]}}"#,
            now + 300,
            now - 10
        );
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = base64url(&self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(&self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        openssl.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = openssl.wait_with_output().unwrap();
        assert!(output.status.success(), "openssl dgst");
        output.stdout
    }
}

/// Makes a key and a certificate for it that is its own authority, valid for 127.0.0.1, `localhost` and `registry.invalid`.
pub(crate) fn self_signed(key: &Path, certificate: &Path, name: &str) {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"])
        .arg(format!("/CN={name}"))
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.invalid",
            "-keyout",
        ])
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .output()
        .unwrap_or_else(|error| panic!("openssl (Debian package openssl) is needed: {error}"));
    assert!(
        output.status.success(),
        "openssl req: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
