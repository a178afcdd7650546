//! Which storage driver the engine has: the one that it was told, else the one that the data root was used with.
//!
//! The data root notes its driver with its first start, in the metadata store. What was kept by another driver cannot be
//! read, so a start with another is refused while there are images or containers; `migrate` converts them.

pub(crate) mod migrate;

use conex_metadata::{Changes, Metadata, Table};
use conex_snapshot::{Driver, DriverError, LimitMethod, OverlayMethod, Snapshots, StorageOptions};

use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, forced_off};
use crate::settings::Settings;

/// Key of the driver's name among what is noted about the data root.
const DRIVER: &str = "storage-driver";

/// Key of the note that a migration began and has something to discard.
const MIGRATION: &str = "storage-migration";

/// Bytes of a limit that is tried where none is asked for yet.
const TRIAL: u64 = 1 << 30;

/// The driver of data roots that note none, and the first that is tried in new ones.
const DEFAULT: &str = "overlay2";

/// Chooses the driver, tries that it works here, and has the data root note it.
///
/// # Errors
/// The driver is unknown or cannot work here, or the data root was used with another; in Docker's words.
pub(crate) fn choose(settings: &Settings, metadata: &Metadata, host: &Host) -> Result<(Driver, StorageOptions)> {
    let options = StorageOptions::parse(&settings.storage.options).map_err(unusable)?;
    let noted = noted(metadata, DRIVER)?;
    let is_used = is_used(metadata)?;
    let prior = match &noted {
        Some(name) => Some(name.as_str()),
        // A data root of before there were several drivers.
        None => is_used.then_some(DEFAULT),
    };
    let wanted = settings.storage.driver.as_deref().or(prior);
    if let (Some(wanted), Some(prior)) = (wanted, prior)
        && wanted != prior
        && is_used
        && Driver::is_known(wanted)
    {
        return Err(initializing(format!(
            "{} was used with the storage driver {prior}, whose images and containers {wanted} cannot read; start with {prior}, \
             or convert them first: conexd --storage-driver {wanted} --migrate-storage",
            settings.data_root.display()
        )));
    }
    let driver = match wanted {
        Some(name) => open(name, settings, &options, host)?,
        None => open_first(settings, &options, host)?,
    };
    if noted.as_deref() != Some(driver.name()) {
        let note = Changes::new().put(Table::DataRoot, DRIVER, driver.name());
        metadata.commit(note).wait().map_err(failed)?;
    }
    Ok((driver, options))
}

/// Bytes that containers may write which do not ask for another limit.
///
/// # Errors
/// A limit is meant for another driver, or what the options say cannot be had here; in Docker's words.
pub(crate) fn layer_size(snapshots: &Snapshots, options: &StorageOptions) -> Result<Option<u64>> {
    let driver = snapshots.driver();
    let size = options.size(driver).map_err(unusable)?;
    if size.is_some() || options.method().is_some_and(|method| method != LimitMethod::Auto) {
        let tried = snapshots.limit(size.unwrap_or(TRIAL), 0, |_| false);
        tried.map_err(|error| {
            let option = match size {
                Some(_) => format!("{}.size", driver.name()),
                None => "conex.quota".to_owned(),
            };
            initializing(format!("Storage option {option} not supported. {error}")).caused_by(error)
        })?;
    }
    Ok(size)
}

/// What is noted about the data root under a key.
fn noted(metadata: &Metadata, key: &str) -> Result<Option<String>> {
    let bytes = metadata.read(Table::DataRoot, key).map_err(failed)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether there is anything that a driver keeps.
fn is_used(metadata: &Metadata) -> Result<bool> {
    let is_empty = |table| metadata.load(table).map(|found| found.is_empty()).map_err(failed);
    Ok(!is_empty(Table::Layers)? || !is_empty(Table::Containers)?)
}

fn open(name: &str, settings: &Settings, options: &StorageOptions, host: &Host) -> Result<Driver> {
    let method = if host.facts.overlay_layer_append {
        OverlayMethod::Detached
    } else {
        OverlayMethod::Attached
    };
    // So that a kernel without overlays can be had everywhere.
    let method = (!forced_off("overlayfs")).then_some(method);
    Driver::open(name, &settings.data_root, method, options).map_err(unusable)
}

/// The first driver that works here, with what each of the others lacks in the log.
fn open_first(settings: &Settings, options: &StorageOptions, host: &Host) -> Result<Driver> {
    let mut first = None;
    for name in Driver::NAMES {
        match open(name, settings, options, host) {
            Ok(driver) => return Ok(driver),
            Err(error) => {
                tracing::warn!(
                    driver = name,
                    error = error.message(),
                    "a storage driver does not work here"
                );
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| initializing("driver not supported".to_owned())))
}

fn unusable(error: DriverError) -> Error {
    initializing(error.to_string()).caused_by(error)
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::Conflict, why)
}

fn initializing(why: String) -> Error {
    Error::new(ErrorKind::System, format!("error initializing graphdriver: {why}"))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::System, error.to_string()).caused_by(error)
}
