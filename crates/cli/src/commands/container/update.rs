//! `conex update`.

use std::collections::BTreeMap;

use clap::Args;
use conex_api_types::HostConfig;
use conex_client::Client;

use super::each;
use super::flags::restart_policy;
use crate::failure::Failure;
use crate::units;

/// Changes limits of containers, at once where they run.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    resources: Resources,
    #[command(flatten)]
    rates: Rates,
    /// Whether it is started again: no, always, unless-stopped, on-failure[:times]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Limits of control groups; what is not given stays.
#[derive(Debug, Args)]
struct Resources {
    /// Limit of memory: 64m, 1g
    #[arg(short, long, value_name = "BYTES", value_parser = units::parse_size, allow_hyphen_values = true, default_value = "0")]
    memory: i64,
    /// Limit of memory and swap; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = units::parse_size, allow_hyphen_values = true, default_value = "0")]
    memory_swap: i64,
    /// Memory that it keeps when there is little
    #[arg(long, value_name = "BYTES", value_parser = units::parse_size, allow_hyphen_values = true, default_value = "0")]
    memory_reservation: i64,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = units::parse_cpus, default_value = "0")]
    cpus: i64,
    /// Relative weight of CPU time
    #[arg(short, long, value_name = "WEIGHT", default_value_t = 0)]
    cpu_shares: i64,
    /// Period of the CPU quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    cpu_period: i64,
    /// CPU time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true, default_value_t = 0)]
    cpu_quota: i64,
    /// CPUs that may be used: 0-2,4
    #[arg(long, value_name = "CPUS", default_value = "")]
    cpuset_cpus: String,
    /// Memory nodes that may be used: 0,1
    #[arg(long, value_name = "NODES", default_value = "")]
    cpuset_mems: String,
    /// Limit of processes; -1 for unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

/// Limits of all connections to networks; an empty value takes an earlier one back.
#[derive(Debug, Args)]
struct Rates {
    /// Limit of what it receives: 10mbit, unlimited
    #[arg(long, value_name = "RATE")]
    rate_ingress: Option<String>,
    /// What it may receive at once: 64kb
    #[arg(long, value_name = "BYTES")]
    rate_ingress_burst: Option<String>,
    /// Limit of what it sends: 10mbit, unlimited
    #[arg(long, value_name = "RATE")]
    rate_egress: Option<String>,
    /// What it may send at once: 64kb
    #[arg(long, value_name = "BYTES")]
    rate_egress_burst: Option<String>,
}

impl Update {
    /// Prints what was updated.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let asked = &self.request()?;
        if *asked == HostConfig::default() {
            return Err(Failure::new(
                1,
                "conex: you must provide one or more flags when using this command",
            ));
        }
        each(&self.containers, |container| async move {
            for warning in client.update(container, asked).await?.warnings.iter().flatten() {
                eprintln!("WARNING: {warning}");
            }
            Ok(())
        })
        .await
    }

    fn request(&self) -> Result<HostConfig, Failure> {
        let resources = &self.resources;
        let restart_policy = self.restart.as_deref().map(restart_policy).transpose()?;
        Ok(HostConfig {
            memory: resources.memory,
            memory_swap: resources.memory_swap,
            memory_reservation: resources.memory_reservation,
            nano_cpus: resources.cpus,
            cpu_shares: resources.cpu_shares,
            cpu_period: resources.cpu_period,
            cpu_quota: resources.cpu_quota,
            cpuset_cpus: resources.cpuset_cpus.clone(),
            cpuset_mems: resources.cpuset_mems.clone(),
            pids_limit: resources.pids_limit,
            restart_policy: restart_policy.unwrap_or_default(),
            network_rates: self.rates.options(),
            ..HostConfig::default()
        })
    }
}

impl Rates {
    fn options(&self) -> BTreeMap<String, String> {
        let options = [
            ("conex.rate.ingress", &self.rate_ingress),
            ("conex.rate.ingress.burst", &self.rate_ingress_burst),
            ("conex.rate.egress", &self.rate_egress),
            ("conex.rate.egress.burst", &self.rate_egress_burst),
        ];
        let given = options
            .into_iter()
            .filter_map(|(name, value)| value.clone().map(|value| (name.to_owned(), value)));
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        update: Update,
    }

    fn request(words: &str) -> HostConfig {
        let line = Line::try_parse_from(["update"].into_iter().chain(words.split_whitespace())).unwrap();
        line.update.request().unwrap()
    }

    #[test]
    fn flags_are_fields_of_the_api() {
        let host = request("-m 64m --memory-swap -1 --cpus 0.5 -c 512 --pids-limit -1 --restart on-failure:3 one two");
        assert_eq!((host.memory, host.memory_swap), (64 << 20, -1));
        assert_eq!(
            (host.nano_cpus, host.cpu_shares, host.pids_limit),
            (500_000_000, 512, Some(-1))
        );
        assert_eq!(host.restart_policy.maximum_retry_count, 3);
        let rates = request("--rate-egress 10mbit --rate-egress-burst= one").network_rates;
        let given: Vec<_> = rates
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            given,
            [("conex.rate.egress", "10mbit"), ("conex.rate.egress.burst", "")]
        );
    }

    #[test]
    fn what_is_not_given_is_not_asked_for() {
        assert_eq!(request("one"), HostConfig::default());
    }
}
