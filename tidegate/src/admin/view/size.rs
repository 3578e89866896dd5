//! How large an elastic pool is to be, and why: the part `scaler` of a pool.

use serde::{Deserialize, Serialize};

/// What its scaler has decided last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScalerView {
    /// `act` or `shadow`.
    pub mode: String,
    /// Instances that it should have.
    pub desired: u32,
    /// The most that anything asks for.
    pub need: u32,
    /// The most that it may have.
    pub limit: u32,
    /// Instances on their way.
    pub booting: u32,
    /// From a launch to full weight, as is reckoned with.
    pub lead_seconds: u64,
    /// What keeps it from following the need, one sentence each.
    pub holds: Vec<String>,
    /// An operator's order, while it holds.
    #[serde(rename = "override")]
    pub order: Option<OverrideView>,
    /// Windows that are open or open next, in the order of their openings.
    pub windows: Vec<WindowView>,
}

/// What an operator wants instead of what the rules say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideView {
    /// So many instances; none is a pause: no change of size at all.
    pub pin: Option<u32>,
    /// Then it ends by itself, in UTC.
    pub until: String,
    /// In the operator's words.
    pub reason: String,
    /// Whose it is.
    pub actor: String,
}

/// One `[[scalers.*.windows]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowView {
    /// Its name.
    pub name: String,
    /// `open`; `leads`: launches for its floor go out already; or `next`.
    pub state: String,
    /// When it opens or has opened, in its zone.
    pub from: String,
    /// When it shuts, in its zone.
    pub to: String,
    /// Never fewer while it is open.
    pub floor: Option<u32>,
    /// Never more while it is open.
    pub ceiling: Option<u32>,
    /// Where it is written.
    pub place: String,
}

impl ScalerView {
    /// `3 wanted (5 needed, at most 4), 1 boots`, and what holds, one line each.
    pub fn lines(&self) -> Vec<String> {
        let aside = if self.mode == "shadow" { ", and does nothing" } else { "" };
        let mut lines = vec![format!(
            "size: {} wanted, {} needed, at most {}, {} on their way{aside}",
            self.desired, self.need, self.limit, self.booting
        )];
        lines.extend(self.order.as_ref().map(OverrideView::line));
        lines.extend(self.holds.iter().map(|hold| format!("held: {hold}")));
        lines.extend(self.windows.iter().map(WindowView::line));
        lines
    }
}

impl OverrideView {
    fn line(&self) -> String {
        let OverrideView { pin, until, reason, actor } = self;
        let what = pin.map_or("paused".to_owned(), |pin| format!("pinned to {pin}"));
        format!("{what} until {until} by {actor}: {reason}")
    }
}

impl WindowView {
    /// `window evening: open until 23:30, at least 4, at most 20 (tidegate.toml:30)`
    pub fn line(&self) -> String {
        let WindowView { name, state, from, to, place, .. } = self;
        let when = match state.as_str() {
            "open" => format!("open until {to}"),
            "leads" => format!("opens {from}, launches go out"),
            _ => format!("opens {from}"),
        };
        let floor = self.floor.map(|floor| format!(", at least {floor}")).unwrap_or_default();
        let ceiling = self.ceiling.map(|most| format!(", at most {most}")).unwrap_or_default();
        format!("window {name}: {when}{floor}{ceiling} ({place})")
    }
}
