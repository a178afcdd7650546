//! `POST /containers/{id}/update`: limits of a container that is there already.

use std::collections::BTreeMap;

use conex_api_types::HostConfig;

use crate::config::Config;
use crate::invalid::Invalid;
use crate::limits;
use crate::restart::Policy;
use crate::unsupported;

impl Config {
    /// The configuration with what a client asks to change; what is 0, empty or absent stays.
    ///
    /// # Errors
    /// `Invalid::Conflict` where it contradicts what stays, else as at creation.
    pub fn updated(&self, asked: &HostConfig) -> Result<Self, Invalid> {
        unsupported::refuse_host(asked)?;
        unsupported::refuse_change(asked)?;
        self.check_conflicts(asked)?;
        refuse_of_start(asked)?;
        let mut updated = self.clone();
        let host = &mut updated.host;
        for (value, asked) in [
            (&mut host.memory, asked.memory),
            (&mut host.memory_swap, asked.memory_swap),
            (&mut host.memory_reservation, asked.memory_reservation),
            (&mut host.cpu_shares, asked.cpu_shares),
            (&mut host.cpu_period, asked.cpu_period),
            (&mut host.cpu_quota, asked.cpu_quota),
            (&mut host.cpu_realtime_period, asked.cpu_realtime_period),
            (&mut host.cpu_realtime_runtime, asked.cpu_realtime_runtime),
            (&mut host.nano_cpus, asked.nano_cpus),
        ] {
            if asked != 0 {
                *value = asked;
            }
        }
        for (list, asked) in [
            (&mut host.cpuset_cpus, &asked.cpuset_cpus),
            (&mut host.cpuset_mems, &asked.cpuset_mems),
        ] {
            if !asked.is_empty() {
                list.clone_from(asked);
            }
        }
        if asked.blkio_weight != 0 {
            host.blkio_weight = asked.blkio_weight;
        }
        if asked.blkio_weight_device.is_some() {
            host.blkio_weight_device.clone_from(&asked.blkio_weight_device);
        }
        for (list, asked) in [
            (&mut host.blkio_device_read_bps, &asked.blkio_device_read_bps),
            (&mut host.blkio_device_write_bps, &asked.blkio_device_write_bps),
            (&mut host.blkio_device_read_iops, &asked.blkio_device_read_iops),
            (&mut host.blkio_device_write_iops, &asked.blkio_device_write_iops),
        ] {
            if asked.is_some() {
                list.clone_from(asked);
            }
        }
        if asked.device_cgroup_rules.is_some() {
            host.device_cgroup_rules.clone_from(&asked.device_cgroup_rules);
        }
        host.memory_swappiness = asked.memory_swappiness.or(host.memory_swappiness);
        host.oom_kill_disable = asked.oom_kill_disable.or(host.oom_kill_disable);
        if asked.pids_limit.is_some() {
            // Docker shows 0 for none.
            host.pids_limit = asked.pids_limit.map(|limit| limit.max(0));
        }
        if !asked.restart_policy.name.is_empty() {
            host.restart_policy = asked.restart_policy.clone();
        }
        limits::check(host)?;
        updated.take_rates(&asked.network_rates);
        Ok(updated)
    }

    /// Takes limits of connections. They are those of all connections: what was said of one goes.
    fn take_rates(&mut self, asked: &BTreeMap<String, String>) {
        for (option, value) in asked {
            for settings in self.endpoints.values_mut() {
                if let Some(options) = &mut settings.driver_opts {
                    options.remove(option);
                }
            }
            let rates = &mut self.host.network_rates;
            if value.is_empty() {
                rates.remove(option);
            } else {
                rates.insert(option.clone(), value.clone());
            }
        }
    }

    fn check_conflicts(&self, asked: &HostConfig) -> Result<(), Invalid> {
        let now = &self.host;
        let conflict = |words: &str| Err(Invalid::Conflict(format!("Conflicting options: {words}")));
        if asked.nano_cpus > 0 && now.cpu_period > 0 {
            return conflict("Nano CPUs cannot be updated as CPU Period has already been set");
        }
        if asked.nano_cpus > 0 && now.cpu_quota > 0 {
            return conflict("Nano CPUs cannot be updated as CPU Quota has already been set");
        }
        if asked.cpu_period > 0 && now.nano_cpus > 0 {
            return conflict("CPU Period cannot be updated as NanoCPUs has already been set");
        }
        if asked.cpu_quota > 0 && now.nano_cpus > 0 {
            return conflict("CPU Quota cannot be updated as NanoCPUs has already been set");
        }
        if now.auto_remove && Policy::of(&asked.restart_policy) != Policy::Never {
            return Err(Invalid::Conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container".to_owned(),
            ));
        }
        // What was never said follows the memory; what was said stays in its way.
        if asked.memory_swap == 0 && now.memory_swap > 0 && asked.memory > now.memory_swap {
            return Err(Invalid::Conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// What a container has from its start on.
fn refuse_of_start(asked: &HostConfig) -> Result<(), Invalid> {
    let devices = asked.devices.as_ref().is_some_and(|list| !list.is_empty());
    let ulimits = asked.ulimits.as_ref().is_some_and(|list| !list.is_empty());
    let refusals = [(devices, "Devices"), (ulimits, "Ulimits")];
    match refusals.into_iter().find(|(asked, _)| *asked) {
        Some((_, field)) => Err(Invalid::Unsupported {
            field,
            what: "changing it after the creation".to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(json: &str) -> HostConfig {
        serde_json::from_str(json).unwrap()
    }

    fn config(json: &str) -> Config {
        let host = host(json);
        Config {
            host,
            ..Config::default()
        }
    }

    #[test]
    fn what_is_not_spoken_of_stays() {
        let before = config(r#"{"Memory":67108864,"CpuShares":512,"PidsLimit":10}"#);
        let after = before
            .updated(&host(r#"{"Memory":134217728,"CpusetCpus":"0"}"#))
            .unwrap();
        let of = |config: &Config| config.host.clone();
        assert_eq!((of(&after).memory, of(&after).memory_swap), (128 << 20, 0));
        assert_eq!((of(&after).cpu_shares, of(&after).pids_limit), (512, Some(10)));
        assert_eq!(of(&after).cpuset_cpus, "0");
        let unlimited = after.updated(&host(r#"{"PidsLimit":-1}"#)).unwrap();
        assert_eq!(of(&unlimited).pids_limit, Some(0));
        let throttled =
            r#"{"BlkioDeviceReadBps":[{"Path":"/dev/a","Rate":5}],"OomKillDisable":true,"MemorySwappiness":7}"#;
        let after = before.updated(&host(throttled)).unwrap();
        let after = after.updated(&host(r#"{"BlkioWeight":10}"#)).unwrap();
        assert_eq!(of(&after).blkio_device_read_bps.unwrap()[0].rate, 5);
        assert_eq!(
            (of(&after).oom_kill_disable, of(&after).memory_swappiness),
            (Some(true), Some(7))
        );
        let none = after.updated(&host(r#"{"BlkioDeviceReadBps":[]}"#)).unwrap();
        assert_eq!(of(&none).blkio_device_read_bps, Some(Vec::new()));
    }

    #[test]
    fn limits_of_connections_are_those_of_all_connections() {
        let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        let mut before = config(r#"{"NetworkRates":{"conex.rate.ingress":"1mbit"}}"#);
        let settings = conex_api_types::EndpointSettings {
            driver_opts: Some(options(&[
                ("conex.rate.egress", "2mbit"),
                ("conex.rate.egress.burst", "64kb"),
            ])),
            ..Default::default()
        };
        before.endpoints.insert("front".to_owned(), settings);
        let asked = host(r#"{"NetworkRates":{"conex.rate.egress":"3mbit","conex.rate.ingress":""}}"#);
        let after = before.updated(&asked).unwrap();
        assert_eq!(after.host.network_rates, options(&[("conex.rate.egress", "3mbit")]));
        let left = after.endpoints["front"].driver_opts.clone().unwrap();
        assert_eq!(left, options(&[("conex.rate.egress.burst", "64kb")]));
    }

    #[test]
    fn contradictions_are_refused_in_dockers_words() {
        let refusal = |before: &str, asked: &str| config(before).updated(&host(asked)).unwrap_err().to_string();
        assert_eq!(
            refusal(r#"{"CpuPeriod":100000}"#, r#"{"NanoCpus":500000000}"#),
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"
        );
        assert_eq!(
            refusal(r#"{"NanoCpus":500000000}"#, r#"{"CpuQuota":50000}"#),
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        );
        assert!(
            refusal(
                r#"{"Memory":67108864,"MemorySwap":67108864}"#,
                r#"{"Memory":134217728}"#
            )
            .starts_with("Memory limit should be smaller than already set memoryswap limit")
        );
        assert_eq!(refusal("{}", r#"{"Memory":1}"#), "Minimum memory limit allowed is 6MB");
        assert_eq!(
            refusal(r#"{"AutoRemove":true}"#, r#"{"RestartPolicy":{"Name":"always"}}"#),
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        );
        assert_eq!(
            refusal("{}", r#"{"BlkioWeight":9}"#),
            "Range of blkio weight is from 10 to 1000"
        );
        assert!(refusal("{}", r#"{"Devices":[{"PathOnHost":"/dev/null"}]}"#).starts_with("Devices: changing it after"));
    }
}
