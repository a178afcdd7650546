//! References as users write them, what they mean, and what is none.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use conex_reference::{AnyReference, Digest, DigestError, ImageId, Reference, ReferenceError};
use proptest::prelude::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn refusal(text: &str) -> String {
    Reference::parse(text).unwrap_err().to_string()
}

#[test]
fn names_are_completed_as_docker_completes_them() {
    for (text, complete, familiar) in [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("user/image", "docker.io/user/image", "user/image"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/a", "localhost/a", "localhost/a"),
        ("localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b"),
        ("ghcr.io/a/b__c/d---e", "ghcr.io/a/b__c/d---e", "ghcr.io/a/b__c/d---e"),
        ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
        ("Host/a", "Host/a", "Host/a"),
        // Docker shows these shorter, but then they would mean something else.
        (
            "docker.io/localhost/a",
            "docker.io/localhost/a",
            "docker.io/localhost/a",
        ),
        ("docker.io/a.b/c", "docker.io/a.b/c", "docker.io/a.b/c"),
    ] {
        let reference = parse(text);
        assert_eq!(reference.to_string(), complete, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
    }
}

#[test]
fn tag_and_digest_are_told_apart() {
    let both = parse(&format!("localhost:5000/a:v1@sha256:{HEX}"));
    assert_eq!(
        (both.domain(), both.path(), both.tag()),
        ("localhost:5000", "a", Some("v1"))
    );
    assert_eq!(both.digest(), Some(Digest::of(b"")));
    assert_eq!(both.tag_or_digest(), format!("sha256:{HEX}"));
    assert_eq!(both.clone().with_default_tag(), both);
    assert!(both.without_tag_and_digest().is_name_only());
}

#[test]
fn latest_stands_where_nothing_does() {
    assert_eq!(parse("a").tag(), None);
    assert_eq!(parse("a").with_default_tag().familiar(), "a:latest");
    assert_eq!(parse("a:b").with_default_tag().familiar(), "a:b");
    assert_eq!(parse("a").tag_or_digest(), "latest");
}

#[test]
fn the_tag_parameter_may_be_a_digest() {
    assert_eq!(parse("a").with_tag_or_digest("b").unwrap().familiar(), "a:b");
    let digest = format!("sha256:{HEX}");
    assert_eq!(
        parse("a").with_tag_or_digest(&digest).unwrap().familiar(),
        format!("a@{digest}")
    );
    assert_eq!(parse("a").with_tag_or_digest("b c"), Err(ReferenceError::InvalidTag));
}

#[test]
fn what_is_no_reference_is_refused_with_dockers_words() {
    for text in [
        "",
        ":",
        "a:",
        ":b",
        "a@",
        "a@b",
        "a b",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a:.b",
        "a@sha256:abc",
        "a_b.c/d",
        "ä",
    ] {
        assert_eq!(refusal(text), "invalid reference format", "{text}");
    }
    let lower = "invalid reference format: repository name (library/Busybox) must be lowercase";
    assert_eq!(refusal("Busybox"), lower);
    assert_eq!(refusal("Busybox:latest"), lower);
    assert_eq!(
        refusal("docker.io/library/A"),
        "invalid reference format: repository name (library/A) must be lowercase"
    );
    let hexadecimal = format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings");
    assert_eq!(refusal(HEX), hexadecimal);
    assert_eq!(
        refusal(&"a/".repeat(128).trim_end_matches('/').repeat(2)),
        "repository name must not be more than 255 characters"
    );
    assert_eq!(refusal(&format!("a:{}", "b".repeat(129))), "invalid reference format");
    assert_eq!(
        refusal(&format!("a@sha256:{}", &HEX[..40])),
        "invalid checksum digest length"
    );
    assert_eq!(
        refusal(&format!("a@md5:{}", &HEX[..32])),
        "unsupported digest algorithm"
    );
    assert_eq!(
        refusal(&format!("a@sha256:{}", HEX.to_uppercase())),
        "invalid checksum digest format"
    );
    assert_eq!(parse("a").with_tag("").unwrap_err().to_string(), "invalid tag format");
}

#[test]
fn an_id_is_told_from_a_name() {
    let id = ImageId::parse(HEX).unwrap();
    assert_eq!(AnyReference::parse(HEX), Ok(AnyReference::Id(id)));
    assert_eq!(AnyReference::parse(&format!("sha256:{HEX}")), Ok(AnyReference::Id(id)));
    assert_eq!(
        AnyReference::parse("busybox"),
        Ok(AnyReference::Named(parse("busybox")))
    );
    assert_eq!(
        AnyReference::parse("sha256:abc"),
        Ok(AnyReference::Named(parse("sha256:abc")))
    );
    assert_eq!(
        AnyReference::parse("A"),
        Err(ReferenceError::NotLowercase {
            name: "library/A".to_owned()
        })
    );
    assert_eq!(Digest::parse("sha256:abc"), Err(DigestError::InvalidLength));
}

#[test]
fn serde_keeps_the_complete_form() {
    let json = serde_json::to_string(&parse("busybox:1")).unwrap();
    assert_eq!(json, "\"docker.io/library/busybox:1\"");
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), parse("busybox:1"));
    assert!(serde_json::from_str::<Reference>("\"A\"").is_err());
}

/// Texts that nearly are references, so that the parser gets far.
fn nearly() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("a"),
            Just("B"),
            Just("0"),
            Just("."),
            Just("_"),
            Just("-"),
            Just("/"),
            Just(":"),
            Just("@"),
            Just("localhost"),
            Just("docker.io"),
            Just("library/"),
            Just("[::1]"),
            Just("sha256:"),
            Just(HEX),
        ],
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    // A failure prints its input; no file is left beside the sources.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        drop(Reference::parse(&text));
        drop(AnyReference::parse(&text));
        let _ = Digest::parse(&text);
    }

    #[test]
    fn what_parses_reads_back_from_both_forms(text in nearly()) {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
        }
    }

    #[test]
    fn every_name_of_the_grammar_parses(
        domain in "([a-z0-9]{1,5}\\.[a-z]{2,3}(:[0-9]{1,5})?|localhost|docker[.]io)/",
        path in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z]{1,6}){0,2}",
        tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,12})?",
    ) {
        let text = format!("{domain}{path}{tag}");
        let reference = Reference::parse(&text);
        prop_assert!(reference.is_ok(), "{}: {:?}", text, reference);
        let reference = reference.unwrap();
        prop_assert_eq!(reference.tag(), tag.strip_prefix(':'));
    }

    #[test]
    fn a_path_never_leaves_its_directory(text in nearly()) {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert!(reference.path().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
        }
    }
}
