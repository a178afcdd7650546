//! Names of containers: what is allowed, and what is made up where the client names none.

use crate::invalid::Invalid;

/// Checks a name and takes a leading slash off.
pub fn parse(name: &str) -> Result<&str, Invalid> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut letters = bare.bytes();
    let first = letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric());
    let more = bare.len() > 1 && letters.all(|letter| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter));
    if first && more {
        return Ok(bare);
    }
    Err(Invalid::Field(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// What a container may be like.
const QUALITIES: [&str; 64] = [
    "amber", "ample", "azure", "balmy", "brave", "breezy", "bright", "brisk", "calm", "candid", "cheery", "civil",
    "clear", "clever", "coral", "cosy", "crisp", "daring", "deft", "eager", "early", "earnest", "fair", "fleet",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "green", "hardy", "hazel", "humble", "ivory",
    "jolly", "keen", "kind", "light", "lively", "lucid", "mellow", "merry", "mild", "misty", "neat", "noble", "olive",
    "patient", "placid", "polite", "proud", "quick", "quiet", "rapid", "russet", "serene", "silver", "steady", "sunny",
    "swift", "tidy", "warm",
];

/// What it may be called after: what travels, and what carries.
const THINGS: [&str; 64] = [
    "albatross",
    "anchor",
    "barge",
    "beacon",
    "bollard",
    "brig",
    "buoy",
    "cabin",
    "canoe",
    "caravel",
    "cargo",
    "clipper",
    "compass",
    "coracle",
    "crane",
    "cutter",
    "derrick",
    "dhow",
    "dinghy",
    "dock",
    "dolphin",
    "ferry",
    "flagship",
    "frigate",
    "funnel",
    "galleon",
    "gangway",
    "gannet",
    "gull",
    "harbor",
    "hatch",
    "heron",
    "jetty",
    "junk",
    "kayak",
    "keel",
    "ketch",
    "lantern",
    "lighter",
    "lugger",
    "mast",
    "mooring",
    "narwhal",
    "oar",
    "otter",
    "packet",
    "petrel",
    "pier",
    "pilot",
    "plover",
    "porpoise",
    "quay",
    "rudder",
    "sampan",
    "schooner",
    "sextant",
    "skiff",
    "sloop",
    "steamer",
    "tern",
    "tiller",
    "trawler",
    "tug",
    "yawl",
];

/// A name from a random number; `attempt` adds a digit when names are taken.
pub fn generate(random: u64, attempt: u32) -> String {
    let index = |shift: u32| usize::try_from(random >> shift & 63).unwrap_or(0);
    let name = format!("{}_{}", QUALITIES[index(0)], THINGS[index(6)]);
    if attempt == 0 {
        name
    } else {
        format!("{name}{}", random >> 12 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_docker_takes_are_taken() {
        assert_eq!(parse("/web-1.a_b").unwrap(), "web-1.a_b");
        for wrong in ["", "a", "-ab", "a b", "a/b", "ä1"] {
            assert!(
                parse(wrong)
                    .unwrap_err()
                    .to_string()
                    .starts_with("Invalid container name ("),
                "{wrong}"
            );
        }
    }

    #[test]
    fn made_up_names_are_allowed_and_differ() {
        for random in 0..10_000_u64 {
            assert!(parse(&generate(random * 7919, 1)).is_ok());
        }
        assert_ne!(generate(1, 0), generate(2, 0));
    }
}
