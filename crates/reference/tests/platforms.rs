//! Platforms: text, normal form, and what runs where.

use conex_reference::Platform;
use proptest::prelude::*;

fn host() -> Platform {
    Platform::of_machine("x86_64")
}

#[test]
fn platforms_are_parsed_and_completed() {
    for (text, rendered) in [
        ("linux/amd64", "linux/amd64"),
        ("linux", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("Linux/AARCH64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm", "linux/arm/v7"),
        ("arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armel", "linux/arm/v6"),
        ("windows/amd64", "windows/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
    ] {
        assert_eq!(Platform::parse(text, &host()).unwrap().to_string(), rendered, "{text}");
    }
}

#[test]
fn what_is_no_platform_is_refused() {
    let refusal = |text: &str| Platform::parse(text, &host()).unwrap_err().to_string();
    assert_eq!(
        refusal("nonsense"),
        "\"nonsense\": unknown operating system or architecture: invalid argument"
    );
    assert_eq!(
        refusal("a/b/c/d"),
        "\"a/b/c/d\": cannot parse platform specifier: invalid argument"
    );
    assert!(refusal("linux/").starts_with("\"\" is an invalid component of \"linux/\": platform specifier"));
    assert!(refusal("linux/a b").contains("must match"));
}

#[test]
fn the_host_is_named_after_its_machine() {
    for (machine, rendered) in [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("i686", "linux/386"),
        ("riscv64", "linux/riscv64"),
        ("loongarch64", "linux/loong64"),
    ] {
        assert_eq!(Platform::of_machine(machine).to_string(), rendered);
    }
}

#[test]
fn candidates_go_from_the_best_to_the_oldest() {
    let candidates = |text: &str| -> Vec<String> {
        let platform = Platform::parse(text, &host()).unwrap();
        platform.candidates().iter().map(ToString::to_string).collect()
    };
    assert_eq!(candidates("linux/amd64"), ["linux/amd64", "linux/386"]);
    assert_eq!(
        candidates("linux/amd64/v3"),
        ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]
    );
    assert_eq!(
        candidates("linux/arm/v7"),
        ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]
    );
    assert_eq!(
        candidates("linux/arm64/v8"),
        [
            "linux/arm64",
            "linux/arm/v8",
            "linux/arm/v7",
            "linux/arm/v6",
            "linux/arm/v5"
        ]
    );
    assert_eq!(candidates("linux/s390x"), ["linux/s390x"]);
}

#[test]
fn the_same_platform_under_other_names_suits_best() {
    let arm64 = Platform::of_machine("aarch64");
    assert_eq!(arm64.rank(&Platform::new("linux", "aarch64", "")), Some(0));
    assert_eq!(arm64.rank(&Platform::new("linux", "arm", "")), Some(2));
    assert_eq!(arm64.rank(&Platform::new("windows", "arm64", "")), None);
    assert_eq!(host().rank(&Platform::new("unknown", "unknown", "")), None);
}

#[test]
fn serde_follows_the_image_specification() {
    let json = r#"{"architecture":"arm","os":"linux","variant":"v7"}"#;
    let platform: Platform = serde_json::from_str(json).unwrap();
    assert_eq!(platform, Platform::new("linux", "arm", "v7"));
    assert_eq!(serde_json::to_string(&platform).unwrap(), json);
    let more = r#"{"architecture":"amd64","os":"windows","os.version":"10"}"#;
    assert_eq!(
        serde_json::from_str::<Platform>(more).unwrap(),
        Platform::new("windows", "amd64", "")
    );
}

proptest! {
    // A failure prints its input; no file is left beside the sources.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        drop(Platform::parse(&text, &host()));
    }

    #[test]
    fn what_parses_reads_back(text in "(linux|windows|Darwin)/(amd64|x86_64|arm|arm64|aarch64|armhf|s390x)(/(v?[5-9]|x))?") {
        let platform = Platform::parse(&text, &host()).unwrap();
        prop_assert_eq!(Platform::parse(&platform.to_string(), &host()).unwrap(), platform.clone());
        prop_assert_eq!(platform.rank(&platform), Some(0));
        prop_assert_eq!(platform.normalised().normalised(), platform.normalised());
    }
}
