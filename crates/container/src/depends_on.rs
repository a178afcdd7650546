//! What Compose notes about a service's containers: its name, its project, and the services that it depends on.

use std::collections::BTreeMap;

/// The label with the name of a container's project.
const PROJECT: &str = "com.docker.compose.project";

/// The label with the name of its service.
const SERVICE: &str = "com.docker.compose.service";

/// The label with what the service depends on: `db:service_healthy:true,cache:service_started:false`.
const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// A service that has to be there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub service: String,
    /// How it has to be.
    pub condition: Condition,
}

/// How a service has to be before another is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It runs.
    Started,
    /// Its health check says so.
    Healthy,
    /// It has ended with 0.
    Completed,
}

/// Project and service of a container, where it is Compose's.
pub fn service(labels: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    Some((labels.get(PROJECT)?, labels.get(SERVICE)?))
}

/// What a container depends on. A condition that nobody knows is taken for the weakest.
pub fn dependencies(labels: &BTreeMap<String, String>) -> Vec<Dependency> {
    let text = labels.get(DEPENDS_ON).map_or("", String::as_str);
    let entries = text.split(',').filter(|entry| !entry.is_empty());
    let dependencies = entries.map(|entry| {
        let mut parts = entry.split(':');
        let service = parts.next().unwrap_or_default().to_owned();
        let condition = match parts.next() {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::Completed,
            _ => Condition::Started,
        };
        Dependency { service, condition }
    });
    dependencies.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compose_notes_is_read() {
        let labels = |text: &str| BTreeMap::from([(DEPENDS_ON.to_owned(), text.to_owned())]);
        let read = |text: &str| -> Vec<(String, Condition)> {
            let all = dependencies(&labels(text)).into_iter();
            all.map(|dependency| (dependency.service, dependency.condition))
                .collect()
        };
        assert_eq!(
            read("db:service_healthy:true,init:service_completed_successfully:false,web:service_started:false,old"),
            [
                ("db".to_owned(), Condition::Healthy),
                ("init".to_owned(), Condition::Completed),
                ("web".to_owned(), Condition::Started),
                ("old".to_owned(), Condition::Started),
            ]
        );
        assert!(read("").is_empty() && dependencies(&BTreeMap::new()).is_empty());
        let labels = [(PROJECT, "p"), (SERVICE, "s")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(service(&BTreeMap::from(labels)), Some(("p", "s")));
        assert_eq!(service(&BTreeMap::new()), None);
    }
}
