//! Who tells others of what happens here.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::alerts;
use crate::config::{AlertsConfig, Config};
use crate::telemetry::events::EventRing;

/// What the configuration wants to be told.
pub(super) struct Tellers {
    site: Arc<str>,
    alerts: AlertsConfig,
}

impl Tellers {
    pub(super) fn of(config: &Config) -> Tellers {
        Tellers { site: config.site.name.as_str().into(), alerts: config.alerts.clone() }
    }

    /// Everything here may be late, or fail for ever, without anybody else noticing.
    pub(super) fn start(self, events: &Arc<EventRing>, tasks: &mut JoinSet<()>) {
        let sinks = alerts::sinks(&self.alerts);
        tasks.spawn(alerts::run(self.alerts, self.site, Arc::clone(events), sinks));
    }
}
