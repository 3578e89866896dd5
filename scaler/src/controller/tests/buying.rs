//! Cheap instances that may be taken back, beside those at full price.

use super::*;

/// Two places, each at both prices; the cheap ones come first.
fn rig(on_demand_base: u32, spot_percent: u32) -> Rig {
    let mut rig = Rig::ready();
    let offer = |name: &str, is_spot| Offer { name: name.into(), spec: name.into(), is_spot };
    rig.controller.abilities.offers =
        vec![offer("a/spot", true), offer("b/spot", true), offer("a", false), offer("b", false)];
    rig.controller.abilities.purchase = Purchase { on_demand_base, spot_percent };
    rig.demand = 100.0;
    rig
}

/// How many of which offer, all that is asked for until nothing more is.
fn bought(rig: &mut Rig) -> Vec<(String, u32)> {
    let asked: Vec<LaunchRequest> = (0..5).flat_map(|_| launches(&rig.turn())).collect();
    asked.iter().map(|launch| (launch.offer.name.to_string(), launch.count)).collect()
}

fn sum(bought: &[(String, u32)], is_spot: bool) -> u32 {
    let of_kind = bought.iter().filter(|(name, _)| name.ends_with("/spot") == is_spot);
    of_kind.map(|(_, count)| count).sum()
}

#[test]
fn the_base_is_at_full_price_and_a_share_of_the_rest_is_cheap() {
    for (base, percent, cheap) in [(0, 0, 0), (2, 50, 4), (0, 100, 10), (20, 100, 0), (0, 33, 3)] {
        let bought = bought(&mut rig(base, percent));
        let sums = (sum(&bought, true), sum(&bought, false));
        assert_eq!(sums, (cheap, 10 - cheap), "{base} and {percent} %: {bought:?}");
    }
}

#[test]
fn the_share_counts_those_that_are_there() {
    let mut rig = rig(0, 50);
    let own = |name: &str, is_spot| Instance { is_spot, ..instance(name, &mark(1)) };
    let names: Vec<String> = (0..6).map(|number| format!("i-{number}")).collect();
    rig.listed(names.iter().map(|name| own(name, true)).collect());
    let bought = bought(&mut rig);
    assert_eq!((sum(&bought, true), sum(&bought, false)), (0, 4), "{bought:?}");
}

#[test]
fn where_no_cheap_one_is_to_be_had_one_at_full_price_comes() {
    let mut rig = rig(0, 100);
    for kind in [FailureKind::NoCapacity, FailureKind::NoCapacity] {
        for asked in launches(&rig.turn()) {
            rig.answered(&asked, Err(failure(kind)));
        }
    }
    assert_eq!(&*launches(&rig.turn())[0].offer.name, "a");
}

#[test]
fn a_quota_of_cheap_ones_does_not_stop_the_others() {
    let mut rig = rig(0, 100);
    let asked = launches(&rig.turn());
    assert_eq!(&*asked[0].offer.name, "a/spot");
    for asked in asked {
        rig.answered(&asked, Err(failure(FailureKind::Quota)));
    }
    assert_eq!(&*launches(&rig.turn())[0].offer.name, "a");
}
