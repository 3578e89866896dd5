//! The scaler's life in a world that goes wrong, seed by seed.
//!
//! A day is 24 compressed minutes of one turn a second: quiet traffic, a crowd that comes within
//! half a minute, a steady evening, and nobody. The cloud throttles, loses answers, boots late or never, shows
//! what it has with a delay and takes instances away; the process is killed between any two steps,
//! its journal is deleted or restored, clocks are set. After every turn the rules at the head of
//! `scaler/src/controller.rs` are asserted, in the evening that as many serve as
//! are needed, and at the end of the day that nothing is left running.
//!
//! `TIDEGATE_SEED=7` replays one day, `TIDEGATE_DAYS=10000` lives through more of them. That the
//! rules can be broken is shown by worlds in which a link of the chain is missing ([`Broken`]).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

#[path = "simulation/cloud.rs"]
mod cloud;
#[path = "simulation/door.rs"]
mod door;
#[path = "simulation/world.rs"]
mod world;

use std::ops::Range;

use world::{Broken, Day, live};

/// In CI; a drill takes more.
const DAYS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Lives through these days and says which of them broke a rule.
fn broken_days(seeds: Range<u64>, broken: Broken) -> Vec<(u64, String)> {
    seeds.filter_map(|seed| live(seed, broken).err().map(|rule| (seed, rule))).collect()
}

/// Whether one of the first days breaks a rule.
fn is_noticed(broken: Broken) -> bool {
    (1..100).any(|seed| live(seed, broken).is_err())
}

#[test]
fn whatever_happens_the_rules_hold() {
    let seeds = match number("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("TIDEGATE_DAYS").unwrap_or(DAYS) + 1,
    };
    let failed = broken_days(seeds, Broken::Nothing);
    assert!(failed.is_empty(), "TIDEGATE_SEED=n replays one: {failed:#?}");
}

#[test]
fn the_days_are_eventful_enough_to_mean_something() {
    let mut all = Day::default();
    for seed in 1..=30 {
        let day = live(seed, Broken::Nothing).expect("no rule is broken");
        all.launched += day.launched;
        all.lost_answers += day.lost_answers;
        all.crashes += day.crashes;
        all.failed_boots += day.failed_boots;
        all.taken += day.taken;
        all.adopted += day.adopted;
        all.cut_short += day.cut_short;
        all.throttled += day.throttled;
        all.journals_lost += day.journals_lost;
    }
    println!("{all:?}");
    let counts = [
        all.launched / 10,
        all.lost_answers,
        all.crashes,
        all.failed_boots,
        all.taken,
        all.adopted,
        all.cut_short,
        all.throttled,
        all.journals_lost,
    ];
    assert!(counts.iter().all(|count| *count >= 10), "{all:?}");
}

#[test]
fn a_launch_without_its_token_is_noticed() {
    assert!(is_noticed(Broken::Tokens));
}

#[test]
fn writing_down_after_acting_is_noticed() {
    assert!(is_noticed(Broken::JournalOrder));
}

#[test]
fn terminating_without_waiting_for_requests_is_noticed() {
    assert!(is_noticed(Broken::Drain));
}

#[test]
fn forgetting_open_launches_is_noticed() {
    assert!(is_noticed(Broken::OpenLaunches));
}
