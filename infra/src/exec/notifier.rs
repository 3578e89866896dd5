//! Messages by a program of the operator: to a pager, a chat, a siren on the local network.
//!
//! It is run once per message, gets one JSON object on its standard input and ends with 0 when it has
//! delivered it (`docs/alerts.md`). What it writes on its standard output is not looked at.

use async_trait::async_trait;
use scaler::ports::{Message, Notifier, NotifyError};

use super::run::{self, RunError};
use super::{BTreeMap, Duration, NAME};
use crate::record;

/// `[alerts.sinks.*]` with `kind = "exec"`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifierSettings {
    /// Program and arguments, at least the program.
    pub command: Vec<String>,
    /// Further variables of its environment.
    pub env: BTreeMap<String, String>,
    /// For one message; the program is killed after that.
    pub timeout: Duration,
}

/// Tells a program.
pub struct ExecNotifier(NotifierSettings);

impl ExecNotifier {
    /// Starts nothing yet.
    pub fn new(settings: NotifierSettings) -> ExecNotifier {
        ExecNotifier(settings)
    }
}

#[async_trait]
impl Notifier for ExecNotifier {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tell(&self, message: &Message) -> Result<(), NotifyError> {
        let NotifierSettings { command, env, timeout } = &self.0;
        let input = format!("{}\n", record::of(message));
        match run::run(command, env, input.as_bytes(), *timeout).await {
            Ok(_) => Ok(()),
            Err(RunError::NotFound(reason)) => Err(NotifyError::Never { notifier: NAME, reason }),
            Err(error) => {
                Err(NotifyError::Later { notifier: NAME, source: error.to_string().into() })
            }
        }
    }
}
