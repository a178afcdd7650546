//! `POST /containers/{id}/update`: limits of a container that is there already.

use conex_api_types::HostConfig;

use crate::config::Config;
use crate::invalid::Invalid;
use crate::limits::Limits;
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
        let mut updated = self.clone();
        let host = &mut updated.host;
        for (value, asked) in [
            (&mut host.memory, asked.memory),
            (&mut host.memory_swap, asked.memory_swap),
            (&mut host.memory_reservation, asked.memory_reservation),
            (&mut host.cpu_shares, asked.cpu_shares),
            (&mut host.cpu_period, asked.cpu_period),
            (&mut host.cpu_quota, asked.cpu_quota),
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
        if asked.pids_limit.is_some() {
            // Docker shows 0 for none.
            host.pids_limit = asked.pids_limit.map(|limit| limit.max(0));
        }
        if !asked.restart_policy.name.is_empty() {
            host.restart_policy = asked.restart_policy.clone();
        }
        updated.limits = Limits::from_host_config(host)?;
        Ok(updated)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn host(json: &str) -> HostConfig {
        serde_json::from_str(json).unwrap()
    }

    fn config(json: &str) -> Config {
        let host = host(json);
        Config {
            limits: Limits::from_host_config(&host).unwrap(),
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
        assert_eq!(after.limits.memory, Some(128 << 20));
        assert_eq!(after.limits.memory_swap, Some(256 << 20), "it was never spoken of");
        assert_eq!((after.limits.cpu_shares, after.limits.pids), (Some(512), Some(10)));
        assert_eq!(after.limits.cpuset_cpus.as_deref(), Some("0"));
        let unlimited = after.updated(&host(r#"{"PidsLimit":-1}"#)).unwrap();
        assert_eq!(unlimited.limits.pids, None);
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
        assert!(refusal("{}", r#"{"BlkioWeight":10}"#).contains("not supported yet"));
    }
}
