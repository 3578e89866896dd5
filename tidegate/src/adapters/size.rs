//! The size of elastic pools: how it stands, and what operators want instead.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policies::backend::PoolName;
use policies::scale::window::{Opening, Window};
use policies::scale::{Override, Standing};
use scaler::controller::Mode;
use scaler::overrides::Wish;

use super::DoorSource;
use crate::admin::orders::{Done, Refusal, Size};
use crate::admin::view::{OverrideView, ScalerView, WindowView};
use crate::scaling::Handle;

impl DoorSource {
    /// The scaler of this pool, if one runs.
    pub(super) fn scaler(&self, pool: &PoolName) -> Option<&Handle> {
        self.scalers.get()?.iter().find(|handle| handle.settings.pool == *pool)
    }

    /// Pins or pauses a pool, or lets its rules decide again. It holds from the next turn on.
    pub(super) fn resize(
        &self,
        pool: &str,
        size: Size,
        why: Option<String>,
        actor: &str,
    ) -> Result<Done, Refusal> {
        let name = PoolName(pool.into());
        let Some(handle) = self.scaler(&name) else {
            let known = self.scalers.get().into_iter().flatten();
            let known: Vec<&str> = known.map(|handle| &*handle.settings.pool.0).collect();
            let known = if known.is_empty() { "none is".to_owned() } else { known.join(", ") };
            return Err(Refusal::unknown(format!("no scaled pool `{pool}`; scaled: {known}")));
        };
        let actor: Arc<str> = actor.into();
        let order = match size {
            Size::Auto => None,
            Size::Pin { instances, lasts } => Some((Override::Pin(instances), lasts)),
            Size::Pause { lasts } => Some((Override::Pause, lasts)),
        };
        let order = order.map(|(order, lasts)| Standing {
            order,
            until: after(lasts),
            why: why.unwrap_or_default().into(),
            actor: Arc::clone(&actor),
        });
        let view = order.as_ref().map(override_view);
        match handle.desk.ask(Wish { order, actor }) {
            true => Ok(Done::Resized(view)),
            false => Err(Refusal::conflict("too many orders at once; try again".to_owned())),
        }
    }
}

/// In whole seconds: nobody reads the rest.
fn after(lasts: Duration) -> Timestamp {
    let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
    let now = Timestamp::now().as_second();
    let now = Timestamp::from_second(now).unwrap_or(Timestamp::MAX);
    now.saturating_add(lasts).unwrap_or(Timestamp::MAX)
}

/// How a pool stands with its scaler.
pub(super) fn view(handle: &Handle) -> ScalerView {
    let standing = handle.board.borrow().clone();
    let now = Timestamp::now();
    let windows = handle.settings.policy.windows.iter();
    let mut windows: Vec<_> = windows
        .filter_map(|window| {
            let opening = window.opening(now)?;
            Some((opening.from, window_view(window, opening, now, standing.lead)))
        })
        .collect();
    windows.sort_by_key(|(from, _)| *from);
    let decision = standing.decision.as_ref();
    ScalerView {
        mode: if standing.mode == Mode::Shadow { "shadow" } else { "act" }.to_owned(),
        desired: decision.map_or(0, |decision| decision.desired),
        need: decision.map_or(0, |decision| decision.need),
        limit: decision.map_or(0, |decision| decision.limit),
        booting: standing.census.open + standing.census.booting,
        lead_seconds: standing.lead.as_secs(),
        holds: decision.into_iter().flat_map(|d| &d.holds).map(ToString::to_string).collect(),
        order: standing.order.as_ref().map(override_view),
        windows: windows.into_iter().map(|(_, view)| view).collect(),
    }
}

fn override_view(order: &Standing) -> OverrideView {
    OverrideView {
        pin: match order.order {
            Override::Pin(instances) => Some(instances),
            Override::Pause => None,
        },
        until: order.until.to_string(),
        reason: order.why.to_string(),
        actor: order.actor.to_string(),
    }
}

/// As at `now`, with this boot time for those that do not say how early they lead.
pub(crate) fn window_view(
    window: &Window,
    opening: Opening,
    now: Timestamp,
    lead: Duration,
) -> WindowView {
    let is_leading = window.floor.is_some() && window.is_open(now, window.lead.unwrap_or(lead));
    let state = match (opening.from <= now, is_leading) {
        (true, _) => "open",
        (false, true) => "leads",
        (false, false) => "next",
    };
    let local = |at: Timestamp| {
        at.to_zoned(window.zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
    };
    WindowView {
        name: window.name.to_string(),
        state: state.to_owned(),
        from: local(opening.from),
        to: local(opening.to),
        floor: window.floor,
        ceiling: window.ceiling,
        place: window.place.to_string(),
    }
}
