//! What operators want instead: it holds, ends by itself, and is remembered.

use super::*;

fn order(rig: &Rig, order: Override, seconds: u64) -> Standing {
    Standing {
        order,
        until: rig.now.wall.checked_add(Duration::from_secs(seconds)).unwrap(),
        why: "load test".into(),
        actor: "uid 7".into(),
    }
}

fn wish(rig: &mut Rig, order: Option<Standing>) {
    rig.wishes.push(Wish { order, actor: "uid 8".into() });
}

#[test]
fn a_pin_launches_at_once_and_ends_when_its_time_is_over() {
    let mut rig = Rig::ready();
    let pin = order(&rig, Override::Pin(2), 10);
    wish(&mut rig, Some(pin.clone()));
    let out = rig.turn();
    assert_eq!(out.events, [Event::OverrideSet { order: pin.clone() }]);
    assert_eq!(out.decision.desired, 2);
    assert!(out.decision.terms.iter().any(|term| term.name() == "pin"), "{:?}", out.decision);
    let out = rig.turns(9);
    let ended = Event::OverrideEnded { order: pin, actor: None };
    assert!(out.events.contains(&ended), "{:?}", out.events);
    assert_eq!(rig.controller.standing_order(), None);
    assert_eq!(rig.turn().decision.need, 0);
}

#[test]
fn an_order_is_replaced_by_the_next_and_ended_by_hand_once() {
    let mut rig = Rig::ready();
    let (first, second) = (order(&rig, Override::Pin(2), 60), order(&rig, Override::Pause, 60));
    wish(&mut rig, Some(first));
    wish(&mut rig, Some(second.clone()));
    rig.demand = 100.0;
    let out = rig.turn();
    assert_eq!(out.decision.desired, 0);
    assert!(matches!(out.decision.holds[..], [Hold::Paused { .. }]), "{:?}", out.decision.holds);
    wish(&mut rig, None);
    wish(&mut rig, None);
    let out = rig.turn();
    let ended = Event::OverrideEnded { order: second, actor: Some("uid 8".into()) };
    assert_eq!(out.events, [ended]);
    assert!(out.decision.desired > 0);
}

#[test]
fn an_order_of_the_life_before_holds_unless_its_time_is_over() {
    for (seconds, desired) in [(60, 3), (0, 0)] {
        let pin = order(&Rig::ready(), Override::Pin(3), seconds);
        let past = Past { order: Some(pin), ..Past::default() };
        let mut rig = Rig::new(settings(), past);
        rig.turn();
        rig.listed(Vec::new());
        assert_eq!(rig.turn().decision.desired, desired);
    }
}
