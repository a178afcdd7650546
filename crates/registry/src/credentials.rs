//! Who asks: what the client sent in `X-Registry-Auth`.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

/// The credentials of one request; all empty for an anonymous one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Account name.
    pub username: String,
    /// Its password, or an access token in its place.
    pub password: String,
    /// A refresh token of an earlier login, exchanged for access tokens.
    pub identity_token: String,
    /// A bearer token, sent as it is.
    pub registry_token: String,
    /// The registry these are for, as the client knows it; only told apart where several are sent.
    pub server_address: String,
}

/// Why a header is no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Neither of the two alphabets of base64.
    #[error("invalid X-Registry-Auth header: must be a valid base64url-encoded string")]
    Encoding,
    /// No JSON object of strings.
    #[error("invalid X-Registry-Auth header: {source}")]
    Json {
        /// What the JSON parser found.
        source: serde_json::Error,
    },
    /// `auth` is not base64 of `name:password`.
    #[error("invalid X-Registry-Auth header: invalid auth configuration file")]
    Auth,
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
    #[serde(default)]
    serveraddress: Option<String>,
}

impl Credentials {
    /// Decodes the value of `X-Registry-Auth`: JSON in base64url, with or without padding. Empty is anonymous.
    pub fn from_header(value: &str) -> Result<Self, CredentialsError> {
        let value = value.trim();
        if value.is_empty() {
            return Ok(Self::default());
        }
        // The documentation demands base64url; older clients send the standard alphabet.
        let json = URL_SAFE
            .decode(value)
            .or_else(|_| STANDARD.decode(value))
            .map_err(|_| CredentialsError::Encoding)?;
        Self::from_json(&json)
    }

    /// Takes the JSON object itself, as `POST /auth` has it in its body.
    pub fn from_json(json: &[u8]) -> Result<Self, CredentialsError> {
        let invalid = |source| CredentialsError::Json { source };
        let object: serde_json::Map<String, Value> = serde_json::from_slice(json).map_err(invalid)?;
        // Docker, a Go program, finds fields in whatever case they are written.
        let object = object.into_iter().map(|(name, value)| (name.to_lowercase(), value));
        let fields: Fields = serde_json::from_value(object.collect()).map_err(invalid)?;
        let mut credentials = Self {
            username: fields.username.unwrap_or_default(),
            password: fields.password.unwrap_or_default(),
            identity_token: fields.identitytoken.unwrap_or_default(),
            registry_token: fields.registrytoken.unwrap_or_default(),
            server_address: fields.serveraddress.unwrap_or_default(),
        };
        let auth = fields.auth.unwrap_or_default();
        if credentials.username.is_empty() && !auth.is_empty() {
            (credentials.username, credentials.password) = decode_auth(&auth).ok_or(CredentialsError::Auth)?;
        }
        Ok(credentials)
    }

    /// True where nothing is known about who asks.
    pub fn is_anonymous(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }

    /// The value of `Authorization` for basic authentication (RFC 7617), where there are a name and a password.
    pub(crate) fn basic(&self) -> Option<String> {
        if self.username.is_empty() || self.password.is_empty() {
            return None;
        }
        let pair = format!("{}:{}", self.username, self.password);
        Some(format!("Basic {}", STANDARD.encode(pair)))
    }
}

/// `auth` of Docker's configuration file: `name:password` in base64.
fn decode_auth(auth: &str) -> Option<(String, String)> {
    let pair = String::from_utf8(STANDARD.decode(auth).or_else(|_| URL_SAFE.decode(auth)).ok()?).ok()?;
    let (username, password) = pair.split_once(':')?;
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Secrets do not reach a log by accident.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JSON: &[u8] = br#"{"username":"me","password":"s>c?ret~","email":"","serveraddress":"https://reg"}"#;

    #[test]
    fn both_alphabets_with_and_without_padding_are_taken() {
        let padded = STANDARD.encode(JSON);
        let url = padded.replace('+', "-").replace('/', "_");
        for header in [
            &padded,
            &url,
            &url.trim_end_matches('=').to_owned(),
            &format!(" {url}\n"),
        ] {
            let credentials = Credentials::from_header(header).unwrap();
            assert_eq!(credentials.username, "me", "{header}");
            assert_eq!(credentials.password, "s>c?ret~");
            assert_eq!(credentials.server_address, "https://reg");
        }
    }

    #[test]
    fn nobody_is_anonymous() {
        for header in ["", "e30=", "e30"] {
            assert!(Credentials::from_header(header).unwrap().is_anonymous(), "{header}");
        }
        let nulls = Credentials::from_json(br#"{"username":null,"identitytoken":"t"}"#).unwrap();
        assert_eq!((nulls.is_anonymous(), nulls.identity_token.as_str()), (false, "t"));
    }

    #[test]
    fn auth_stands_for_name_and_password() {
        let auth = STANDARD.encode("me:a:b\0");
        let credentials = Credentials::from_json(format!(r#"{{"auth":"{auth}"}}"#).as_bytes()).unwrap();
        assert_eq!(
            (credentials.username.as_str(), credentials.password.as_str()),
            ("me", "a:b")
        );
        assert_eq!(
            credentials.basic().unwrap(),
            format!("Basic {}", STANDARD.encode("me:a:b"))
        );
        assert!(matches!(
            Credentials::from_json(br#"{"auth":"bm9jb2xvbg=="}"#),
            Err(CredentialsError::Auth)
        ));
    }

    #[test]
    fn fields_are_found_in_any_case() {
        let credentials = Credentials::from_json(br#"{"UserName":"me","PASSWORD":"p","ServerAddress":"r"}"#).unwrap();
        assert_eq!(
            (credentials.username.as_str(), credentials.password.as_str()),
            ("me", "p")
        );
        assert_eq!(credentials.server_address, "r");
        assert!(Credentials::from_json(b"[]").is_err());
    }

    #[test]
    fn what_is_no_header_is_refused_and_secrets_are_not_shown() {
        assert!(matches!(
            Credentials::from_header("%%%"),
            Err(CredentialsError::Encoding)
        ));
        assert!(matches!(
            Credentials::from_header("bm8="),
            Err(CredentialsError::Json { .. })
        ));
        let credentials = Credentials::from_json(JSON).unwrap();
        assert!(!format!("{credentials:?}").contains("c?ret"));
    }

    proptest! {
        #[test]
        fn no_header_makes_the_decoder_panic(header in "\\PC*") {
            drop(Credentials::from_header(&header));
        }

        #[test]
        fn every_name_and_password_comes_through(username in "[^\"\\\\\\p{C}]+", password in "[^\"\\\\\\p{C}]*") {
            let json = format!(r#"{{"username":"{username}","password":"{password}"}}"#);
            let credentials = Credentials::from_header(&URL_SAFE.encode(json)).unwrap();
            prop_assert_eq!((credentials.username, credentials.password), (username, password));
        }
    }
}
