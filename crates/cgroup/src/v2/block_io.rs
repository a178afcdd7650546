//! Weights and rates of block I/O (`io.weight`, `io.max`).

use std::path::Path;

use conex_spec::plan::{BlockIo, Throttle, ThrottleKind};

use crate::cgroup::{CgroupError, Lines};

/// Writes them.
pub(super) fn apply(directory: &Path, limits: &BlockIo) -> Result<(), CgroupError> {
    apply_weights(directory, limits)?;
    apply_throttles(directory, &limits.throttles)
}

/// Weights are those of the scheduler where it has its own file (block/bfq-iosched.rst).
fn apply_weights(directory: &Path, limits: &BlockIo) -> Result<(), CgroupError> {
    let by_device = limits.devices.iter();
    let by_device: Vec<_> = by_device.filter_map(|one| Some((one.device, one.weight?))).collect();
    if limits.weight.is_none() && by_device.is_empty() {
        return Ok(());
    }
    let (mut file, scale): (_, fn(u16) -> u64) = match Lines::open(directory, "io.bfq.weight") {
        Err(error) if error.is_absent() => (Lines::open(directory, "io.weight")?, io_weight),
        opened => (opened?, u64::from),
    };
    if let Some(weight) = limits.weight {
        file.write(&scale(weight).to_string())?;
    }
    for ((major, minor), weight) in by_device {
        let weight = match weight {
            0 => "default".to_owned(),
            weight => scale(weight).to_string(),
        };
        file.write(&format!("{major}:{minor} {weight}"))?;
    }
    Ok(())
}

fn apply_throttles(directory: &Path, throttles: &[Throttle]) -> Result<(), CgroupError> {
    let lines = throttle_lines(throttles);
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = Lines::open(directory, "io.max")?;
    lines.iter().try_for_each(|line| file.write(line))
}

/// One line for each device.
fn throttle_lines(throttles: &[Throttle]) -> Vec<String> {
    let mut lines: Vec<((u32, u32), String)> = Vec::new();
    for Throttle { device, kind, rate } in throttles {
        let key = match kind {
            ThrottleKind::ReadBytes => "rbps",
            ThrottleKind::WriteBytes => "wbps",
            ThrottleKind::ReadOperations => "riops",
            ThrottleKind::WriteOperations => "wiops",
        };
        let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
        let setting = format!(" {key}={rate}");
        match lines.iter_mut().find(|(known, _)| known == device) {
            Some((_, line)) => line.push_str(&setting),
            None => lines.push((*device, format!("{}:{}{setting}", device.0, device.1))),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Weight 1 to 10000 for 10 to 1000, linear.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_block_devices_map_onto_the_whole_range() {
        assert_eq!([io_weight(10), io_weight(500), io_weight(1000)], [1, 4950, 10_000]);
    }

    #[test]
    fn rates_of_one_device_are_one_line() {
        let throttle = |device, kind, rate| Throttle { device, kind, rate };
        let throttles = [
            throttle((8, 0), ThrottleKind::ReadBytes, 1),
            throttle((8, 16), ThrottleKind::WriteBytes, 2),
            throttle((8, 0), ThrottleKind::WriteOperations, 0),
        ];
        assert_eq!(throttle_lines(&throttles), ["8:0 rbps=1 wiops=max", "8:16 wbps=2"]);
    }
}
