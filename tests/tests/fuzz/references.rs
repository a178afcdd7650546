//! Names of images, and digests.

use conex_reference::{Digest, ImageId, Platform, Reference};

use crate::fuzzer::{Target, as_it_is, shape};

const WORDS: [&[u8]; 12] = [
    b"docker.io",
    b"index.docker.io",
    b"library/",
    b"localhost",
    b":5000",
    b"[::1]:80/",
    b"@sha256:",
    b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    b"__",
    b"--",
    b"a/b/c",
    b":latest",
];

fn check(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let mut did = String::new();
    match Reference::parse(&text) {
        Ok(reference) => {
            assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference, "{text:?}");
            assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference, "{text:?}");
            let tagged = reference.clone().with_default_tag();
            assert_eq!(Reference::parse(&tagged.to_string()).unwrap(), tagged, "{text:?}");
            // The domain is followed in requests, the path in URLs.
            assert!(!reference.domain().is_empty() && !reference.path().is_empty());
            let all = [reference.domain(), reference.path(), reference.tag().unwrap_or("")];
            let is_plain = |letter: u8| letter.is_ascii_graphic() && !b"?#%\"<>\\^`{|}@".contains(&letter);
            assert!(all.iter().all(|part| part.bytes().all(is_plain)), "{text:?}");
            assert!(!format!("/{}/", reference.path()).contains("/../"), "{text:?}");
            did += &format!(
                "{} {} {:?} {:?} ",
                reference.domain() == "docker.io",
                reference.path().split('/').count(),
                reference.tag().map(|tag| tag == "latest"),
                reference.digest().is_some()
            );
        }
        Err(error) => did.extend(shape(&error.to_string()).chars().take(24)),
    }
    if let Ok(digest) = Digest::parse(&text) {
        assert_eq!(digest.to_string(), text);
        did += "digest ";
    }
    if let Ok(id) = ImageId::parse(&text) {
        assert_eq!(ImageId::parse(&id.to_string()).unwrap(), id);
        did += "id ";
    }
    let host = Platform::of_machine("x86_64");
    match Platform::parse(&text, &host) {
        Ok(platform) => {
            let again = Platform::parse(&platform.to_string(), &host).unwrap();
            assert_eq!(again.normalised(), platform.normalised(), "{text:?}");
            did += &format!("{:?}", host.rank(&platform));
        }
        Err(error) => did.extend(shape(&error.to_string()).chars().take(24)),
    }
    did
}

const TARGET: Target<'_> = Target {
    name: "references",
    words: &WORDS,
    mend: &as_it_is,
    check: &check,
};

#[test]
fn references_are_parsed_and_printed() {
    TARGET.run();
}

#[test]
#[ignore = "writes the corpus"]
fn keep_references() {
    let digest = format!("a@sha256:{}", "0123456789abcdef".repeat(4));
    let seeds: Vec<(&str, Vec<u8>)> = [
        ("short", "busybox"),
        ("tagged", "docker.io/library/busybox:1.36"),
        ("port", "localhost:5000/team/image:latest"),
        ("address", "[2001:db8::1]:5000/a/b"),
        ("digest", &digest),
        ("platform", "linux/arm64/v8"),
        ("upper", "Example.COM/a_b__c-d.e"),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .to_vec();
    TARGET.keep(&seeds);
}
