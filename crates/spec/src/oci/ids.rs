//! `uidMappings` and `gidMappings`.

use oci_spec::runtime::LinuxIdMapping;

use crate::error::{Error, Result};

/// Ids in a row: the first in the namespace, the first on the host, and how many.
pub type IdRange = (u32, u32, u32);

/// Which ids of the host those of a user namespace are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMappings {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

impl IdMappings {
    /// Takes both lists; each has to have something.
    pub(super) fn new(users: &Option<Vec<LinuxIdMapping>>, groups: &Option<Vec<LinuxIdMapping>>) -> Result<Self> {
        Ok(Self {
            users: ranges("uidMappings", users)?,
            groups: ranges("gidMappings", groups)?,
        })
    }
}

/// The kernel refuses ranges that overlap or end beyond the last id without a word (user_namespaces(7)).
fn ranges(field: &'static str, given: &Option<Vec<LinuxIdMapping>>) -> Result<Vec<IdRange>> {
    let refused = |reason: String| Error::Specification { field, reason };
    let ranges: Vec<IdRange> = given
        .iter()
        .flatten()
        .map(|range| (range.container_id(), range.host_id(), range.size()))
        .collect();
    if ranges.is_empty() {
        return Err(refused("is required".to_string()));
    }
    for (index, (inside, outside, count)) in ranges.iter().enumerate() {
        let text = format!("{inside}:{outside}:{count}");
        if *count == 0 || inside.checked_add(*count).is_none() || outside.checked_add(*count).is_none() {
            return Err(refused(format!("{text} is no range of ids")));
        }
        let meets = |one: u32, other: u32, more: u32| one < other + more && other < one + count;
        let mut before = ranges[..index].iter();
        if before.any(|(other, host, more)| meets(*inside, *other, *more) || meets(*outside, *host, *more)) {
            return Err(refused(format!("{text} overlaps a range before it")));
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(json: serde_json::Value) -> Option<Vec<LinuxIdMapping>> {
        Some(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn ranges_that_the_kernel_would_refuse_are_named() {
        let range = |inside: u32, outside: u32, size: u32| serde_json::json!({"containerID": inside, "hostID": outside, "size": size});
        let good = given(serde_json::json!([range(0, 1000, 10), range(10, 2000, 5)]));
        assert_eq!(ranges("uidMappings", &good).unwrap(), [(0, 1000, 10), (10, 2000, 5)]);
        for bad in [
            serde_json::json!([]),
            serde_json::json!([range(0, 1000, 0)]),
            serde_json::json!([range(0, u32::MAX, 2)]),
            serde_json::json!([range(0, 1000, 10), range(9, 2000, 5)]),
            serde_json::json!([range(0, 1000, 10), range(10, 1009, 5)]),
        ] {
            assert!(ranges("uidMappings", &given(bad.clone())).is_err(), "{bad}");
        }
    }
}
