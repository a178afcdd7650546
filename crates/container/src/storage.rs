//! Options of a container's root file system (`--storage-opt`), in Docker's words.

use conex_api_types::HostConfig;
use conex_units::size;

use crate::invalid::Invalid;

/// Bytes that a container may write into its root file system: `None` where it does not say, 0 where nothing is to limit it.
///
/// # Errors
/// An option is unknown, or no size.
pub fn layer_size(host: &HostConfig) -> Result<Option<u64>, Invalid> {
    let mut bytes = None;
    for (name, value) in host.storage_opt.iter().flatten() {
        if !name.eq_ignore_ascii_case("size") {
            return Err(Invalid::field(format!("Unknown option {}", name.to_ascii_lowercase())));
        }
        let read = size::binary(value).ok_or_else(|| Invalid::field(format!("invalid size: '{value}'")))?;
        bytes = Some(read);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(name: &str, value: &str) -> Result<Option<u64>, String> {
        let host = HostConfig {
            storage_opt: Some([(name.to_owned(), value.to_owned())].into()),
            ..HostConfig::default()
        };
        layer_size(&host).map_err(|error| error.to_string())
    }

    #[test]
    fn a_size_is_read_as_docker_reads_it() {
        assert_eq!(layer_size(&HostConfig::default()), Ok(None));
        assert_eq!(size("size", "10G"), Ok(Some(10 << 30)));
        assert_eq!(size("Size", "0"), Ok(Some(0)));
        assert_eq!(size("size", "1.5m"), Ok(Some(3 << 19)));
        assert_eq!(size("size", "much"), Err("invalid size: 'much'".to_owned()));
        assert_eq!(size("size", ""), Err("invalid size: ''".to_owned()));
        assert_eq!(size("Inodes", "5"), Err("Unknown option inodes".to_owned()));
    }
}
