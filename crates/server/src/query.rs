//! Parameters of requests: Docker's booleans, numbers, times and filters.

use std::borrow::Cow;
use std::collections::HashMap;

use conex_api_types::Filters;
use conex_engine::Timestamp;

use crate::answer::Failure;

/// The parameters of one request.
#[derive(Debug, Default)]
pub(crate) struct Query(HashMap<String, Vec<String>>);

impl Query {
    /// Parses the part of a URI behind the question mark.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pair.contains(';') {
                return Err(Failure::bad_request("invalid semicolon separator in query"));
            }
            if let Some(wrong) = wrong_escape(pair) {
                return Err(Failure::bad_request(format!("invalid URL escape {wrong:?}")));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.entry(decode(name)).or_default().push(decode(value));
        }
        Ok(Self(values))
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let values = self.0.get(name).into_iter().flatten();
        values.map(String::as_str).collect()
    }

    /// A text, the first of several; empty where it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        let first = self.0.get(name).and_then(|values| values.first());
        first.map_or("", String::as_str)
    }

    /// A text that is not empty.
    pub(crate) fn some(&self, name: &str) -> Option<String> {
        Some(self.text(name).to_owned()).filter(|value| !value.is_empty())
    }

    /// A boolean as Docker reads it: absent, empty and these words are false, everything else is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        !matches!(
            self.text(name).trim().to_ascii_lowercase().as_str(),
            "" | "0" | "no" | "false" | "none"
        )
    }

    /// A number; what is none is refused in the words of Go.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        match self.some(name) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
        }
    }

    /// A point in time: seconds with a fraction, or RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.some(name).filter(|text| text != "0") else {
            return Ok(None);
        };
        Timestamp::parse(&text)
            .map(Some)
            .ok_or_else(|| Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
    }

    /// The `filters` parameter.
    pub(crate) fn filters(&self) -> Result<Filters, Failure> {
        Filters::parse(self.text("filters")).map_err(|error| Failure::bad_request(error.to_string()))
    }
}

/// The one moment of the filter `until` of a prune: a time, or how long ago it was (`10m`, `1h30m`).
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>, Failure> {
    match filters.values("until").unwrap_or_default() {
        [] => Ok(None),
        [text] => {
            let unknown = || Failure::bad_request(format!("failed to parse value as time or duration: {text:?}"));
            Timestamp::before(text, jiff::Timestamp::now())
                .map(Some)
                .ok_or_else(unknown)
        }
        _ => Err(Failure::bad_request("more than one until filter specified")),
    }
}

/// The first escape that is none (RFC 3986, section 2.1).
pub(crate) fn wrong_escape(text: &str) -> Option<&str> {
    let escapes = text.match_indices('%').map(|(at, _)| &text[at..]);
    let mut wrong = escapes.filter(|rest| {
        let digits = rest.as_bytes().get(1..3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    let rest = wrong.next()?;
    let end = rest.char_indices().map(|(at, _)| at).nth(3).unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Percent-encoding of a query (WHATWG URL, `application/x-www-form-urlencoded`).
pub(crate) fn decode(text: &str) -> String {
    let text: Cow<'_, str> = if text.contains('+') {
        text.replace('+', " ").into()
    } else {
        text.into()
    };
    decode_path(&text)
}

/// Percent-encoding of a path.
pub(crate) fn decode_path(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%');
        let value = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn booleans_are_read_as_docker_reads_them() {
        let query = Query::parse("a=1&b=true&c=0&d=False&e=&f&g=yes").unwrap();
        assert_eq!(
            ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| query.flag(name)),
            [true, true, false, false, false, false, true, false]
        );
    }

    #[test]
    fn times_are_seconds_or_dates() {
        assert_eq!(
            Timestamp::parse("1700000000.5"),
            Some(Timestamp {
                seconds: 1_700_000_000,
                nanoseconds: 500_000_000
            })
        );
        assert_eq!(
            Timestamp::parse("1970-01-01T00:00:01Z"),
            Some(Timestamp {
                seconds: 1,
                nanoseconds: 0
            })
        );
        assert_eq!(Timestamp::parse("yesterday"), None);
        assert!(Query::parse("since=x").unwrap().time("since").is_err());
    }

    #[test]
    fn encoded_text_is_decoded() {
        let query = Query::parse("fromImage=a%2Fb%3A1&filters=%7B%22a%22%3A%5B%22b+c%22%5D%7D").unwrap();
        assert_eq!(query.text("fromImage"), "a/b:1");
        assert_eq!(query.filters().unwrap().values("a").unwrap(), ["b c"]);
        assert_eq!(decode_path("%zz%4"), "%zz%4");
    }

    #[test]
    fn what_is_no_query_is_refused_in_the_words_of_go() {
        let refusal = |text: &str| Query::parse(text).unwrap_err().message().to_owned();
        assert_eq!(refusal("all=%zz&x"), "invalid URL escape \"%zz\"");
        assert_eq!(refusal("all=%4"), "invalid URL escape \"%4\"");
        assert_eq!(refusal("all=1;b=2"), "invalid semicolon separator in query");
    }

    proptest! {
        #[test]
        fn no_query_crashes_the_parser(text in ".*") {
            if let Ok(query) = Query::parse(&text) {
                for name in query.0.keys() {
                    let _ = (query.flag(name), query.number::<i64>(name), query.time(name));
                }
            }
            let _ = Timestamp::parse(&text);
        }

        #[test]
        fn whatever_is_encoded_is_decoded(value in ".*") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let query = Query::parse(&format!("a={encoded}")).unwrap();
            prop_assert_eq!(query.text("a"), value);
        }

        #[test]
        fn no_filters_crash_the_parser(text in r#"[\[\]{}:,"a-z\\]{0,40}"#) {
            let _ = Filters::parse(&text);
        }
    }
}
