//! The grammar of references, as predicates over the parts.
//!
//! ```text
//!   reference       = domain "/" path [ ":" tag ] [ "@" digest ]
//!   domain          = host [ ":" digits ]
//!   host            = label { "." label } | "[" hexadecimal or ":" ... "]"
//!   label           = letters, digits and inner "-"
//!   path            = component { "/" component }
//!   component       = alphanumeric { separator alphanumeric }     (lower case only)
//!   separator       = "." | "_" | "__" | "-" { "-" }
//!   tag             = word character, then up to 127 of word characters, "." and "-"
//!   digest          = algorithm ":" at least 32 hexadecimal digits
//! ```

/// Longest tag, in characters.
const TAG_LENGTH: usize = 128;

pub(crate) fn is_domain(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(crate) fn is_path(text: &str) -> bool {
    text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(is_alphanumeric) || !bytes.last().copied().is_some_and(is_alphanumeric) {
        return false;
    }
    // Between two alphanumerics stands one separator, whole.
    bytes
        .split(|byte| is_alphanumeric(*byte))
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|byte| *byte == b'-'))
}

pub(crate) fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= TAG_LENGTH
        && bytes.first().copied().is_some_and(is_word)
        && bytes.iter().all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'))
}

/// True for what stands in the place of a digest; whether it is one of an algorithm known is the digest's to say.
pub(crate) fn is_digest_shaped(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else {
        return false;
    };
    let is_component = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_component)
        && encoded.len() >= 32
        && encoded.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_alphanumerics_with_whole_separators_between() {
        for good in ["a", "a.b", "a_b", "a__b", "a-b", "a---b", "0", "a/b/c"] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "", "a/", "/a", "a..b", "a___b", "a._b", "-a", "a-", "A", "a b", "ä", "a//b", ".",
        ] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn domains_have_labels_and_a_port() {
        for good in ["localhost", "a.b-c.D", "127.0.0.1:5000", "[::1]", "[2001:db8::1]:5000"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in [
            "", "a..b", "-a", "a_b", "a:", "a:b", "[::1", "[]", "[::1]x", "[::1]:", "a:1:2", "a@b",
        ] {
            assert!(!is_domain(bad), "{bad}");
        }
    }

    #[test]
    fn tags_are_bounded_and_begin_with_a_word_character() {
        for good in ["latest", "_", "1.0-rc.1", "A", &"a".repeat(128)] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "a b", "é", &"a".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
