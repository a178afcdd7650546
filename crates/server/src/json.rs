//! Bodies as Go's `encoding/json` reads them, since that is what clients were written against: names of fields in any
//! case, `null` for "not given" everywhere, the last of several values, and errors in its words.

mod node;
mod syntax;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Value};

use crate::answer::Failure;
use crate::json::node::Node;

/// Reads one value; a `null` is an object without fields.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Failure> {
    let mut values = Deserializer::from_slice(bytes).into_iter::<Value>();
    let value = match values.next() {
        Some(Ok(Value::Null)) => Value::Object(serde_json::Map::new()),
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(invalid(syntax::words(&error, bytes))),
        None => return Err(invalid("got EOF while reading request body")),
    };
    let rest = bytes.get(values.byte_offset()..).unwrap_or_default();
    if rest.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err(Failure::bad_request("unexpected content after JSON"));
    }
    T::deserialize(Node::root(value)).map_err(|error| invalid(error.to_string()))
}

/// Reads the JSON of a parameter; what is wrong with it, in words.
pub(crate) fn parameter<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let wrong = |error: serde_json::Error| match error.is_eof() {
        true => "unexpected end of JSON input".to_owned(),
        false => syntax::words(&error, text.as_bytes()),
    };
    let value = serde_json::from_str(text).map_err(wrong)?;
    T::deserialize(Node::root(value)).map_err(|error| error.to_string())
}

fn invalid(words: impl std::fmt::Display) -> Failure {
    Failure::bad_request(format!("invalid JSON: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use conex_api_types::ContainerCreateRequest;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<ContainerCreateRequest, String> {
        parse(&Bytes::copy_from_slice(text.as_bytes())).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn fields_are_found_in_any_case() {
        let request = read(r#"{"image":"x","HOSTCONFIG":{"memory":7},"Labels":{"a":"B","A":"b"}}"#).unwrap();
        assert_eq!((request.image.as_str(), request.host_config.memory), ("x", 7));
        // Keys of a map are the client's own.
        assert_eq!(request.labels["a"], "B");
        assert_eq!(request.labels["A"], "b");
        assert_eq!(read(r#"{"Image":"a","Image":"b"}"#).unwrap().image, "b");
    }

    #[test]
    fn null_says_nothing() {
        let request = read(r#"{"Image":"x","Tty":null,"Env":null,"HostConfig":null,"Healthcheck":{"Interval":null}}"#);
        let request = request.unwrap();
        assert_eq!(request.image, "x");
        assert_eq!(request.healthcheck.unwrap().interval, 0);
        assert_eq!(read("null").unwrap(), ContainerCreateRequest::default());
        assert_eq!(read(r#"{"Env":["A=b",null]}"#).unwrap().env, ["A=b", ""]);
    }

    #[test]
    fn what_does_not_fit_is_told_in_the_words_of_go() {
        let refusal = |text: &str| read(text).unwrap_err();
        let field = "invalid JSON: json: cannot unmarshal";
        for (text, words) in [
            (r#"{"Image":1}"#, "number into Go struct field .Image of type string"),
            (r#"{"Tty":"yes"}"#, "string into Go struct field .Tty of type bool"),
            (
                r#"{"HostConfig":{"Memory":"1"}}"#,
                "string into Go struct field .HostConfig.Memory of type int64",
            ),
            (
                r#"{"HostConfig":{"Memory":1.5}}"#,
                "number 1.5 into Go struct field .HostConfig.Memory of type int64",
            ),
            (r#"{"Env":"x"}"#, "string into Go struct field .Env of type []string"),
            (r#"{"Env":["a",1]}"#, "number into .Env.1 of type string"),
            (
                r#"{"HostConfig":{"Mounts":[{"Target":1}]}}"#,
                "number into Go struct field .HostConfig.Mounts.0.Target of type string",
            ),
            ("[]", "array into Go value of type container.CreateRequest"),
        ] {
            assert_eq!(refusal(text), format!("{field} {words}"), "{text}");
        }
        assert_eq!(refusal("{"), "invalid JSON: unexpected EOF");
        assert_eq!(refusal("  "), "invalid JSON: got EOF while reading request body");
        assert_eq!(refusal("{} x"), "unexpected content after JSON");
        let character = "invalid JSON: invalid character";
        for (text, words) in [
            ("x", "'x' looking for beginning of value"),
            (r#"{"Image":"x",}"#, "'}' looking for beginning of object key string"),
            ("{'a':1}", r"'\'' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "'1' after object key"),
            (r#"{"a":1 "b"}"#, "'\"' after object key:value pair"),
            ("[1 2]", "'2' after array element"),
        ] {
            assert_eq!(refusal(text), format!("{character} {words}"), "{text}");
        }
        let of_parameter = |text: &str| parameter::<Vec<String>>(text).unwrap_err();
        assert_eq!(of_parameter("["), "unexpected end of JSON input");
        assert_eq!(
            of_parameter("]"),
            "invalid character ']' looking for beginning of value"
        );
        assert_eq!(refusal(&"[".repeat(20_000)), "invalid JSON: exceeded max depth");
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse::<ContainerCreateRequest>(&bytes.into());
        }

        #[test]
        fn no_text_like_json_crashes_the_reader(text in r#"[\[\]{}:,"a-z0-9\\ue.\- \n]{0,40}"#) {
            let _ = read(&text);
        }

        #[test]
        fn what_was_written_is_read(image in ".*", memory in any::<i64>(), tty in any::<bool>(), env in proptest::collection::vec(".*", 0..4)) {
            let mut request = ContainerCreateRequest { image, tty, env, ..ContainerCreateRequest::default() };
            request.host_config.memory = memory;
            prop_assert_eq!(read(&serde_json::to_string(&request).unwrap()).unwrap(), request);
        }
    }
}
