//! What may be tried again, and out of which budget.
//!
//! A request is tried again only while nothing of an answer has gone to the client, and only if
//! trying twice cannot do twice what was asked once: the backend provably never got it, or its
//! method is idempotent (RFC 9110 §9.2.2), or the route says that an `Idempotency-Key` makes it
//! so. How many further attempts a pool may cost is bounded by a budget that is earned by ordinary
//! requests, so that an outage does not become a storm.
//!
//! Here are the rules and the arithmetic; the bucket that all workers share is
//! `balancer::budget`, and what a failure looks like on the wire is `balancer::attempt`.

use std::sync::Arc;

/// `retries = { ... }` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts beyond the first.
    pub max: u32,
    /// Failures that are tried again.
    pub on: Causes,
    /// Methods that are tried again.
    pub methods: Methods,
    /// Requests that may have reached a backend and are tried again, in thousandths of the pool's
    /// requests. The largest among the routes to a pool holds for the pool.
    pub budget_permille: u32,
    /// Never the same backend again, even if there is no other.
    pub other_backend: bool,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max: 1,
            on: Causes::USUAL,
            methods: Methods::Idempotent,
            budget_permille: 100,
            other_backend: true,
        }
    }
}

impl RetryPolicy {
    /// Whether a request may be sent again that was closed upon.
    #[inline]
    pub fn repeats(&self) -> bool {
        self.max > 0 && self.on.has(Cause::Reset) && self.budget_permille > 0
    }
}

/// Which methods may be sent again although a backend may have got them already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// Every idempotent one.
    Idempotent,
    /// These. One that is not idempotent is sent again only with an `Idempotency-Key`.
    Named(Vec<Arc<str>>),
}

/// A failure of one attempt, as far as trying again goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No connection came about: the backend never got the request.
    Connect,
    /// The connection ended before the head of an answer was whole.
    Reset,
    /// The backend answered 502.
    BadGateway,
    /// The backend answered 503.
    Unavailable,
    /// The backend answered 504.
    GatewayTimeout,
    /// No head of an answer within `timeouts.attempt`, which is there to try another backend.
    TooSlow,
    /// The backend was found unhealthy while its answer was awaited, or its drain waits no longer.
    Unwell,
    /// The backend answered 500: its application did, so only where the operator says so.
    ServerError,
}

impl Cause {
    /// The cause that an answer of this status is, if any.
    pub fn of_status(status: u16) -> Option<Cause> {
        match status {
            500 => Some(Cause::ServerError),
            502 => Some(Cause::BadGateway),
            503 => Some(Cause::Unavailable),
            504 => Some(Cause::GatewayTimeout),
            _ => None,
        }
    }
}

/// A set of [`Cause`]s. [`Cause::TooSlow`] is in every set, who wants none sets no limit; and so is
/// [`Cause::Unwell`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Causes(u8);

impl Causes {
    /// Nothing but those that are in every set.
    pub const NONE: Causes = Causes(1 << Cause::TooSlow as u8 | 1 << Cause::Unwell as u8);
    /// All but [`Cause::ServerError`].
    pub const USUAL: Causes = Causes(!(1 << Cause::ServerError as u8));

    /// With one more.
    #[must_use]
    pub fn with(self, cause: Cause) -> Causes {
        Causes(self.0 | 1 << cause as u8)
    }

    /// Whether it is in the set.
    pub fn has(self, cause: Cause) -> bool {
        self.0 & 1 << cause as u8 != 0
    }

    /// Whether an answer of this status is in the set.
    #[inline]
    pub fn has_status(self, status: u16) -> bool {
        Cause::of_status(status).is_some_and(|cause| self.has(cause))
    }
}

/// The state of a request after a failed attempt.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Attempts so far, at least 1.
    pub attempts: u32,
    /// [`is_repeatable`] of it.
    pub is_repeatable: bool,
    /// Its body, if it has one, can be sent from its first byte again.
    pub is_body_here: bool,
    /// Part of an answer is with the client.
    pub is_answering: bool,
}

/// Whether there may be another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No.
    Never,
    /// Yes, and it costs the backends nothing: the request never reached one.
    Free,
    /// Yes, if the budget has a token for it. What it costs if it fails too is due when it does:
    /// all that a backend had in flight when it died may be tried again at once.
    Paid,
    /// Yes, if the budget has a token for it, of which it takes at once what it costs if it fails:
    /// that is known late, and as many again would have been sent until then.
    PaidAhead,
}

/// Whether a request may be sent again that a backend may have got already.
///
/// `is_idempotent` is the method's nature, `has_key` whether there is an `Idempotency-Key`.
#[inline]
pub fn is_repeatable(
    methods: &Methods,
    method: &[u8],
    is_idempotent: bool,
    has_key: impl FnOnce() -> bool,
) -> bool {
    match methods {
        Methods::Idempotent => is_idempotent,
        Methods::Named(names) => {
            names.iter().any(|name| name.as_bytes() == method) && (is_idempotent || has_key())
        }
    }
}

/// Whether a failed attempt may be followed by another.
pub fn again(policy: &RetryPolicy, cause: Cause, sent: Sent) -> Again {
    let is_over = sent.is_answering || !sent.is_body_here || sent.attempts > policy.max;
    if is_over || !policy.on.has(cause) {
        return Again::Never;
    }
    match cause {
        Cause::Connect => Again::Free,
        Cause::TooSlow if sent.is_repeatable && policy.budget_permille > 0 => Again::PaidAhead,
        _ if sent.is_repeatable && policy.budget_permille > 0 => Again::Paid,
        _ => Again::Never,
    }
}

/// A token, in the unit of the bucket.
pub const TOKEN: i64 = 1_000;

/// What a paid attempt that fails as well costs beyond its token. Where another backend does not
/// help, the bucket is empty after few attempts, whatever it had saved: a total outage costs some
/// per cent of requests more and not what ten seconds of traffic have earned.
pub const FAILED_AGAIN: i64 = 9 * TOKEN;

/// What a paid attempt costs that fails as well.
const FAILED: i64 = TOKEN + FAILED_AGAIN;

/// What an attempt takes from a bucket with so many `tokens`; `None` if there is not one. Whoever
/// takes ahead takes all that it will cost if it fails, as far as it is there.
pub fn taken(again: Again, tokens: i64) -> Option<i64> {
    let price = if again == Again::PaidAhead { FAILED } else { TOKEN };
    (tokens >= TOKEN).then_some(price.min(tokens))
}

/// What a bucket has after an attempt has ended that had `paid` so much and shall have cost what it
/// is worth: a token if it has helped, else ten. It never owes, and never has more than `most` by
/// what it gets back.
pub fn settled(tokens: i64, paid: i64, has_helped: bool, most: i64) -> i64 {
    let cost = if has_helped { TOKEN } else { FAILED };
    returned(tokens, paid - cost, most)
}

/// What it has with so much more (or less).
pub fn returned(tokens: i64, back: i64, most: i64) -> i64 {
    (tokens + back).min(most.max(tokens)).max(0)
}

/// Seconds over which requests are counted and tokens kept.
pub const WINDOW_SECONDS: u64 = 10;

/// Tokens that a pool earns every second without a request.
const FLOOR: i64 = 3 * TOKEN;

/// What a bucket holds at most: the budget's share of the `recent` requests of about the last
/// [`WINDOW_SECONDS`], and three tokens for each of these seconds. A share of 0 holds nothing.
pub fn most(budget_permille: u32, recent: u64) -> i64 {
    earned(budget_permille, recent, WINDOW_SECONDS)
}

/// What it earns in so many seconds with `arrived` requests, which is the same for each request,
/// early or late in a busy time.
pub fn earned(budget_permille: u32, arrived: u64, seconds: u64) -> i64 {
    if budget_permille == 0 {
        return 0;
    }
    let share = arrived.saturating_mul(u64::from(budget_permille));
    let floor = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(FLOOR);
    i64::try_from(share).unwrap_or(i64::MAX).saturating_add(floor)
}

/// Requests of about the last [`WINDOW_SECONDS`], after one more second with `arrived` of them:
/// what is older fades instead of being remembered, which is exact for steady traffic and off by
/// at most a third of a change that has just happened.
pub fn fade(requests: u64, arrived: u64) -> u64 {
    requests - requests.div_ceil(WINDOW_SECONDS) + arrived
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Sent =
        Sent { attempts: 1, is_repeatable: true, is_body_here: true, is_answering: false };
    const POST: Sent = Sent { is_repeatable: false, ..GET };

    fn check(cause: Cause, sent: Sent, expected: Again) {
        assert_eq!(again(&RetryPolicy::default(), cause, sent), expected, "{cause:?} {sent:?}");
    }

    #[test]
    fn what_may_have_reached_a_backend_is_paid_for_and_only_if_it_may_be_repeated() {
        use Cause::*;
        for cause in [Reset, BadGateway, Unavailable, GatewayTimeout, Unwell] {
            check(cause, GET, Again::Paid);
            check(cause, POST, Again::Never);
        }
        check(TooSlow, GET, Again::PaidAhead);
        check(TooSlow, POST, Again::Never);
        check(Connect, GET, Again::Free);
        check(Connect, POST, Again::Free);
    }

    #[test]
    fn nothing_is_tried_again_once_answering_or_without_its_body_or_too_often() {
        for sent in [
            Sent { is_answering: true, ..GET },
            Sent { is_body_here: false, ..GET },
            Sent { attempts: 2, ..GET },
        ] {
            check(Cause::Connect, sent, Again::Never);
            check(Cause::Reset, sent, Again::Never);
        }
    }

    #[test]
    fn a_cause_that_is_not_named_is_not_tried_again_but_slowness_has_its_own_switch() {
        let policy =
            RetryPolicy { on: Causes::NONE.with(Cause::Unavailable), ..RetryPolicy::default() };
        assert_eq!(again(&policy, Cause::Unavailable, GET), Again::Paid);
        assert_eq!(again(&policy, Cause::BadGateway, GET), Again::Never);
        assert_eq!(again(&policy, Cause::Connect, GET), Again::Never);
        assert_eq!(again(&policy, Cause::TooSlow, GET), Again::PaidAhead);
        assert_eq!(again(&policy, Cause::Unwell, GET), Again::Paid);
        assert!(policy.on.has_status(503) && !policy.on.has_status(502));
        assert!(!Causes::USUAL.has_status(500) && !Causes::USUAL.has_status(200));
        let on = Causes::NONE.with(Cause::ServerError);
        assert!(on.has_status(500) && !on.has_status(501) && !on.has(Cause::Reset));
    }

    #[test]
    fn a_method_that_is_not_idempotent_needs_to_be_named_and_a_key() {
        let named = Methods::Named(vec!["GET".into(), "POST".into()]);
        let check = |methods: &Methods, method: &[u8], is_idempotent, has_key| {
            is_repeatable(methods, method, is_idempotent, || has_key)
        };
        assert!(check(&Methods::Idempotent, b"DELETE", true, false));
        assert!(!check(&Methods::Idempotent, b"POST", false, true));
        assert!(check(&named, b"GET", true, false));
        assert!(check(&named, b"POST", false, true));
        assert!(!check(&named, b"POST", false, false));
        assert!(!check(&named, b"DELETE", true, true));
    }

    #[test]
    fn a_pool_earns_its_share_of_each_request_and_three_a_second() {
        assert_eq!(earned(100, 0, 1), 3 * TOKEN);
        assert_eq!(earned(100, 1_000, 2), 106 * TOKEN);
        assert_eq!(earned(0, 1_000, 2), 0);
        assert_eq!(most(100, 0), 30 * TOKEN);
        assert_eq!(most(100, 10_000), 1_030 * TOKEN);
        assert_eq!(most(0, 10_000), 0);
        assert!(most(1_000, u64::MAX) > 0 && earned(1_000, 1, u64::MAX) > 0);
    }

    #[test]
    fn a_count_that_fades_finds_steady_traffic_and_forgets_it() {
        let mut requests = 0;
        for _ in 0..60 {
            requests = fade(requests, 1_000);
        }
        assert!((9_900..=10_000).contains(&requests), "{requests}");
        for _ in 0..100 {
            requests = fade(requests, 0);
        }
        assert_eq!(requests, 0);
    }

    #[test]
    fn a_retry_costs_one_token_if_it_helps_and_ten_if_not_whenever_they_are_taken() {
        for again in [Again::Paid, Again::PaidAhead] {
            for saved in [TOKEN, 3 * TOKEN, 10 * TOKEN, 30 * TOKEN] {
                let paid = taken(again, saved).unwrap();
                let left = saved - paid;
                assert_eq!(settled(left, paid, true, 30 * TOKEN), saved - TOKEN, "{again:?}");
                let failed = (saved - 10 * TOKEN).max(0);
                assert_eq!(settled(left, paid, false, 30 * TOKEN), failed, "{again:?} {saved}");
                // It has not come about.
                assert_eq!(returned(left, paid, 30 * TOKEN), saved);
            }
            assert_eq!(taken(again, TOKEN - 1), None);
        }
        // Nobody has more by what comes back, nor less because the bucket has shrunk.
        assert_eq!(settled(28 * TOKEN, 10 * TOKEN, true, 30 * TOKEN), 30 * TOKEN);
        assert_eq!(settled(50 * TOKEN, 10 * TOKEN, true, 30 * TOKEN), 50 * TOKEN);
    }

    /// Retries in an outage of so many seconds at `rate` requests a second, each of which is tried
    /// again `delay` ms after it came, and ends as late again.
    fn retries(rate: u64, seconds: u64, delay: u64, again: Again) -> u64 {
        let most = most(100, rate * 10);
        let mut tokens = most;
        let mut retries = 0;
        let mut under_way = std::collections::VecDeque::new();
        let span = 1_000_000 / rate;
        for number in 0..rate * seconds {
            let now = number * span;
            while under_way.front().is_some_and(|(ends, _)| *ends <= now) {
                let (_, paid) = under_way.pop_front().unwrap();
                tokens = settled(tokens, paid, false, most);
            }
            if number % rate == 0 && number > 0 {
                tokens = (tokens + earned(100, rate, 1)).min(most);
            }
            if now < delay * 1_000 {
                continue;
            }
            if let Some(paid) = taken(again, tokens) {
                tokens -= paid;
                retries += 1;
                under_way.push_back((now + delay * 1_000, paid));
            }
        }
        retries
    }

    /// Whatever was saved before, an outage of a second or more costs a fifth at most.
    #[test]
    fn a_total_outage_costs_at_most_a_fifth_more() {
        for rate in [40, 100, 1_000, 20_000] {
            for seconds in [1, 2, 4, 60] {
                let retries = retries(rate, seconds, 0, Again::Paid);
                assert!(retries * 5 <= rate * seconds, "{retries} of {rate}/s in {seconds} s");
            }
        }
    }

    /// Nobody knows for a while that the second attempt does not help either.
    #[test]
    fn an_outage_in_which_backends_hang_costs_no_more() {
        for rate in [40, 150, 1_000, 20_000] {
            for seconds in [1, 2, 4, 60] {
                for delay in [0, 50, 200, 500, 1_000, 3_000] {
                    let retries = retries(rate, seconds, delay, Again::PaidAhead);
                    let name = format!("{retries} of {rate}/s in {seconds} s, each {delay} ms");
                    assert!(retries * 5 <= rate * seconds, "{name}");
                }
            }
        }
    }
}
