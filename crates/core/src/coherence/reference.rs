//! The time that keys expire by. It comes from a reference clock (the database's; in a single process the machine's
//! wall clock), which may be wrong, be stepped, and be corrected again.
//!
//! The rules, for a lease `L` and its wait `W` ([`super::wait_ms`]):
//!
//! 1. Between two readings, time advances by the boot clock, which cannot be set. It never stops.
//! 2. A later time is taken at once for everything that is *judged* ([`Course::latest`]): no key is accepted after its
//!    expiry. What is *stored* and *counted* uses the earlier time ([`Course::earliest`]) until the later one has been
//!    read for `W`, or the machine's own wall clock agrees with it within `L`: a step that lasts seconds gives no key a
//!    later expiry and starts no quota's period early.
//! 3. A time that is earlier by more than `L` is not taken: time continues from the latest that was given. It is taken
//!    when it was read for `W` without interruption and a second clock agrees with it within `L`: the time that was
//!    read before the last step ahead, or the machine's own wall clock, where that is not the reference itself. Until
//!    then it is what is stored and counted by.
//! 4. A time that was certainly reached, such as that of the newest entry of the audit log, counts as given.

use super::invariants::{Invariant, InvariantResult};

/// How much two clocks of the same time may differ when uses are counted, in milliseconds.
pub const CLOCKS_DIFFER_MS: u32 = 2_000;

/// The bounds that a reference clock is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How far a time may differ from another and still agree with it, in milliseconds.
    pub lease_ms: i64,
    /// How long another time must be read before it is taken, in milliseconds.
    pub wait_ms: i64,
    /// How much slower the boot clock may run than the reference, in thousandths: the time that expiry is decided by
    /// must not be behind the reference.
    pub slack_permille: i64,
}

/// How time advances until the next reading of the reference. All numbers are milliseconds: of the Unix epoch for
/// times, of the boot clock for `at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Course {
    /// The reference's time minus the boot clock's.
    pub offset: i64,
    /// When that was read.
    pub told_at: i64,
    /// The latest time that was given before. Time never falls behind it.
    pub floor: i64,
    /// When it was given.
    pub floor_at: i64,
    /// The offset of the earlier time, if there are two; else [`Course::CERTAIN`].
    pub earlier: i64,
    /// See [`Terms::slack_permille`].
    pub slack_permille: i64,
}

impl Course {
    /// There is only one time.
    pub const CERTAIN: i64 = i64::MAX;

    /// Time as read at `at`, with nothing before it.
    fn begun(offset: i64, at: i64, slack_permille: i64) -> Self {
        Self {
            offset,
            told_at: at,
            floor: i64::MIN,
            floor_at: at,
            earlier: Self::CERTAIN,
            slack_permille,
        }
    }

    /// Returns the latest possible time when the boot clock shows `at`; expiry is decided by it. If the reference was a
    /// little behind what was given, time advances at half its speed until they meet.
    pub fn latest(&self, at: i64) -> i64 {
        let since = at.saturating_sub(self.told_at).max(0);
        let told = at
            .saturating_add(self.offset)
            .saturating_add(since * self.slack_permille / 1_000);
        let since_floor = at.saturating_sub(self.floor_at).max(0);
        told.max(self.floor.saturating_add(since_floor / 2))
    }

    /// Returns the earliest possible time, which is stored and counted by.
    pub fn earliest(&self, at: i64) -> i64 {
        self.latest(at).min(at.saturating_add(self.earlier))
    }
}

/// A reading of the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Telling {
    /// The time.
    pub time: i64,
    /// When it was requested, by the boot clock.
    pub asked_at: i64,
    /// When it was received, by the boot clock.
    pub heard_at: i64,
    /// The machine's wall clock minus its boot clock, where it is another clock than the reference.
    pub witness: Option<i64>,
}

/// An event for the operator. All numbers are milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The reference stepped ahead by this much.
    Ahead(i64),
    /// It stepped back by this much, and is not followed.
    Behind(i64),
    /// It agrees again.
    Settled,
    /// It stepped back by this much before, and is followed now.
    Followed(i64),
}

/// A time that differs from the given one, and since when it is read.
#[derive(Clone, Copy, Debug)]
struct Claim {
    offset: i64,
    since: i64,
    last: i64,
    is_behind: bool,
}

/// Decides which time follows from readings of the reference.
#[derive(Debug)]
pub struct Reference {
    terms: Terms,
    course: Course,
    /// The offset before the last step ahead.
    before: Option<i64>,
    claim: Option<Claim>,
    has_heard: bool,
    /// Whether the newest reading was followed without going back.
    forward: InvariantResult,
}

impl Reference {
    /// Uses `offset` at `at` until the first reading.
    pub fn new(terms: Terms, offset: i64, at: i64) -> Self {
        Self {
            terms,
            course: Course::begun(offset, at, terms.slack_permille),
            before: None,
            claim: None,
            has_heard: false,
            forward: Ok(()),
        }
    }

    /// Returns how time advances now.
    pub fn course(&self) -> Course {
        self.course
    }

    /// Returns how far the reference is behind the time that expiry is decided by, in milliseconds; `None` if it is
    /// followed.
    pub fn behind(&self, at: i64) -> Option<i64> {
        let claim = self.claim.filter(|claim| claim.is_behind)?;
        Some(self.course.latest(at).saturating_sub(at.saturating_add(claim.offset)))
    }

    /// Applies a reading of the reference.
    pub fn told(&mut self, telling: Telling) -> Option<News> {
        let (before, had_heard, at) = (self.course, self.has_heard, telling.heard_at);
        let news = self.judge(telling);
        let is_followed = matches!(news, Some(News::Followed(_))) || !had_heard;
        self.forward = self.check_forward(&before, is_followed, at);
        debug_assert_eq!(self.check(), Ok(()));
        news
    }

    /// Checks [`Invariant::TimeForward`] of the newest reading, and [`Invariant::EarlierTime`].
    pub fn check(&self) -> InvariantResult {
        self.forward?;
        let is_in_doubt = self.claim.is_some();
        let has_two = self.course.earlier != Course::CERTAIN;
        Invariant::EarlierTime.require(is_in_doubt == has_two, u64::from(has_two), u64::from(is_in_doubt))
    }

    /// Checks [`Invariant::TimeForward`] after a reading that was received at `at`. `is_followed`: the reference was set
    /// back and is followed, or there was no reading before.
    fn check_forward(&self, before: &Course, is_followed: bool, at: i64) -> InvariantResult {
        let (then, now) = (before.latest(at), self.course.latest(at));
        let ms = |time: i64| u64::try_from(time).unwrap_or(0);
        Invariant::TimeForward.require(is_followed || now >= then, ms(now), ms(then))
    }

    fn judge(&mut self, telling: Telling) -> Option<News> {
        let Telling {
            time,
            asked_at,
            heard_at,
            ..
        } = telling;
        // Counted from the request: time may be ahead by the round trip, never behind.
        let offset = time.saturating_sub(asked_at);
        if !self.has_heard {
            self.has_heard = true;
            // A doubt from before compared a time with the machine's own clock, which counts no longer.
            self.claim = None;
            self.course = Course::begun(offset, asked_at, self.terms.slack_permille);
            return None;
        }
        let behind = self.course.latest(asked_at).saturating_sub(time);
        if behind > self.terms.lease_ms {
            return self.fell_behind(telling, offset, behind);
        }
        let was_behind = self.claim.is_some_and(|claim| claim.is_behind);
        let ahead = offset.saturating_sub(self.course.offset);
        let news = if was_behind {
            self.claim = None;
            self.course.earlier = Course::CERTAIN;
            Some(News::Settled)
        } else if ahead > self.terms.lease_ms {
            self.went_ahead(telling, offset);
            Some(News::Ahead(ahead))
        } else {
            None
        };
        let settles = |claim: &Claim| heard_at.saturating_sub(claim.since) >= self.terms.wait_ms;
        if self.claim.as_ref().is_some_and(settles) || self.agrees(offset, telling.witness) {
            self.claim = None;
            self.course.earlier = Course::CERTAIN;
        }
        self.course = Course {
            offset,
            told_at: asked_at,
            floor: self.course.latest(heard_at),
            floor_at: heard_at,
            ..self.course
        };
        news
    }

    fn went_ahead(&mut self, telling: Telling, offset: i64) {
        // After several steps, only the time before the first is known to have lasted.
        if self.claim.is_none() {
            self.before = Some(self.course.offset);
        }
        // After several steps ahead, the earliest of the times is the one that is stored.
        self.course.earlier = self.course.earlier.min(self.course.offset);
        self.claim = Some(Claim {
            offset,
            since: telling.asked_at,
            last: telling.heard_at,
            is_behind: false,
        });
    }

    fn fell_behind(&mut self, telling: Telling, offset: i64, behind: i64) -> Option<News> {
        let Telling { asked_at, heard_at, .. } = telling;
        let lease = self.terms.lease_ms;
        let former = self.claim.filter(|claim| claim.is_behind);
        // The same step only if it was read without a gap: near the last reading by its value and by its time.
        let is_same = |claim: &Claim| {
            claim.offset.abs_diff(offset) <= lease.unsigned_abs() && heard_at.saturating_sub(claim.last) <= lease
        };
        let since = former.filter(is_same).map_or(asked_at, |claim| claim.since);
        self.claim = Some(Claim {
            offset,
            since,
            last: heard_at,
            is_behind: true,
        });
        let is_corroborated =
            self.before.is_some_and(|before| self.is_near(before, offset)) || self.agrees(offset, telling.witness);
        if is_corroborated && heard_at.saturating_sub(since) >= self.terms.wait_ms {
            (self.claim, self.before) = (None, None);
            self.course = Course::begun(offset, asked_at, self.terms.slack_permille);
            return Some(News::Followed(behind));
        }
        let (floor, slack_permille) = (self.course.latest(heard_at), self.terms.slack_permille);
        self.course = Course {
            // This reading is no evidence of how slow the boot clock is, so the slack does not grow.
            offset: if former.is_some() {
                self.course.offset
            } else {
                floor.saturating_sub(heard_at)
            },
            told_at: heard_at,
            floor,
            floor_at: heard_at,
            earlier: offset,
            slack_permille,
        };
        former.is_none().then_some(News::Behind(behind))
    }

    /// Applies a time that was reached, whatever the reference reads.
    pub fn reached(&mut self, time: i64, at: i64) -> Option<News> {
        let before = self.course;
        let news = self.judge_reached(time, at);
        self.forward = self.check_forward(&before, false, at);
        debug_assert_eq!(self.check(), Ok(()));
        news
    }

    fn judge_reached(&mut self, time: i64, at: i64) -> Option<News> {
        let behind = time.saturating_sub(self.course.latest(at));
        if behind <= 0 {
            return None;
        }
        let told = self.course.offset;
        (self.course.floor, self.course.floor_at) = (time, at);
        if behind <= self.terms.lease_ms {
            return None;
        }
        self.claim = Some(Claim {
            offset: told,
            since: at,
            last: at,
            is_behind: true,
        });
        (self.course.offset, self.course.told_at) = (time.saturating_sub(at), at);
        self.course.earlier = told;
        Some(News::Behind(behind))
    }

    fn agrees(&self, offset: i64, witness: Option<i64>) -> bool {
        witness.is_some_and(|witness| self.is_near(witness, offset))
    }

    fn is_near(&self, one: i64, other: i64) -> bool {
        one.abs_diff(other) <= self.terms.lease_ms.unsigned_abs()
    }
}

#[cfg(test)]
mod tests;
