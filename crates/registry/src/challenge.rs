//! `WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// One scheme that a server offers, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// `basic` or `bearer`, in lower case.
    pub(crate) scheme: String,
    /// By name, in lower case; of a name given twice the first counts.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// A parameter that is there and not empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// The challenges of one header; what does not follow the grammar is passed over.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let (word, after) = split_token(rest);
        if word.is_empty() {
            // Neither a scheme nor a parameter begins here: go on behind the next comma.
            let Some((_, next)) = rest.split_once(',') else {
                return challenges;
            };
            rest = next;
            continue;
        }
        // `name = value` is a parameter of the scheme before it; a word alone is a scheme.
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, next) = split_value(value.trim_start());
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
                }
                rest = next;
            }
            None => {
                challenges.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: BTreeMap::new(),
                });
                rest = after;
            }
        }
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let is_token = |character: char| character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
    let end = text.find(|character| !is_token(character)).unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted string with its escapes undone, or everything up to the next comma or blank.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    // Never closed: all that came is the value.
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let parameters = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Challenge {
            scheme: scheme.to_owned(),
            parameters,
        }
    }

    #[test]
    fn commas_within_quotes_belong_to_the_value() {
        let header = r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push""#;
        let scope = ("scope", "repository:a/b:pull,push");
        let expected = challenge(
            "bearer",
            &[("realm", "https://auth.example/token"), ("service", "reg"), scope],
        );
        assert_eq!(parse(header), [expected]);
    }

    #[test]
    fn several_challenges_may_share_a_header() {
        let header = r#"Negotiate, Basic realm="a \"b\"" , BEARER Realm = x,error=invalid_token"#;
        assert_eq!(
            parse(header),
            [
                challenge("negotiate", &[]),
                challenge("basic", &[("realm", r#"a "b""#)]),
                challenge("bearer", &[("realm", "x"), ("error", "invalid_token")]),
            ]
        );
    }

    #[test]
    fn garbage_gives_what_can_be_read_of_it() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("=,;;,\"x\""), []);
        assert_eq!(parse("realm=\"x\""), []);
        assert_eq!(parse("Basic realm=\"open"), [challenge("basic", &[("realm", "open")])]);
        assert_eq!(parse("(bad) , Basic"), [challenge("basic", &[])]);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(header in "\\PC*") {
            parse(&header);
        }

        #[test]
        fn no_mix_of_separators_makes_the_parser_panic(header in "[a-z=\\\\\",; \t]{0,40}") {
            parse(&header);
        }

        #[test]
        fn quoted_values_come_back_as_they_were(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let parsed = parse(&format!("Bearer realm=\"{quoted}\",service=\"s\""));
            prop_assert_eq!(parsed, [challenge("bearer", &[("realm", &value), ("service", "s")])]);
        }
    }
}
