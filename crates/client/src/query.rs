//! Paths and parameters of requests.

/// A path with its parameters, percent-encoded.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    text: String,
    separator: char,
}

impl Target {
    /// Under the version's prefix; every part is encoded, slashes within a part are kept (names of images have them).
    pub(crate) fn new(parts: &[&str]) -> Self {
        let mut text = format!("/v{}", crate::API_VERSION);
        for part in parts {
            text.push('/');
            encode(part, "/:@", &mut text);
        }
        Self { text, separator: '?' }
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(self.separator);
        self.separator = '&';
        self.text.push_str(name);
        self.text.push('=');
        encode(value, "", &mut self.text);
        self
    }

    /// Adds a parameter where there is a value.
    pub(crate) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds `name=1` where the flag is set.
    pub(crate) fn flag(self, name: &str, set: bool) -> Self {
        if set { self.with(name, "1") } else { self }
    }

    /// The text of the request line.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn encode(text: &str, kept: &str, into: &mut String) {
    for byte in text.bytes() {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || "-_.~".contains(character) || kept.contains(character) {
            into.push(character);
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_slashes_and_values_do_not() {
        let target = Target::new(&["images", "127.0.0.1:5000/a/b:c", "json"])
            .with("q", "a/b c")
            .flag("x", true);
        assert_eq!(
            target.as_str(),
            "/v1.50/images/127.0.0.1:5000/a/b:c/json?q=a%2Fb%20c&x=1"
        );
    }
}
