//! The time that keys expire by. It comes from a reference clock (the database's; in a single process the machine's wall
//! clock), which may be wrong, be stepped, and be corrected again.
//!
//! The rules, for a lease `L` and its wait `W` ([`super::wait_ms`]):
//!
//! 1. Between two readings, time advances by the boot clock, which cannot be set. It never stands still.
//! 2. A later time is taken at once for everything that is *judged* ([`Course::latest`]): no key is accepted after its
//!    expiry. What is *written down* and *counted* goes by the earlier time ([`Course::earliest`]) until the later one has
//!    been read for `W`, or the machine's own wall clock agrees with it within `L`: a step that lasts seconds gives no key
//!    a later expiry and turns no quota's period.
//! 3. An earlier time, by more than `L`, is not taken: time goes on from the latest that was given. It is taken when it
//!    has been read for `W` without interruption and a second clock agrees with it within `L`: the time that was read
//!    before the last step ahead, or the machine's own wall clock, where that is not the reference itself. Until then it
//!    is what is written down and counted by.
//! 4. A time that was reached for sure, such as that of the newest entry of the audit log, counts as given.

/// What two clocks of the same time may differ by when uses are counted, in milliseconds.
pub const CLOCKS_DIFFER_MS: u32 = 2_000;

/// How a reference clock is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How far a time may lie before another and still agree with it, in milliseconds.
    pub lease_ms: i64,
    /// How long another time must be read before it is taken, in milliseconds.
    pub wait_ms: i64,
    /// How much slower the boot clock may run than the reference, in thousandths: the time that is judged by must not be
    /// behind the reference's.
    pub slack_permille: i64,
}

/// How time goes on until the reference is heard again. All numbers are milliseconds: of the Unix epoch where they are
/// times, and of the boot clock where they say `at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Course {
    /// The reference's time minus the boot clock's.
    pub offset: i64,
    /// When that was read.
    pub told_at: i64,
    /// The latest time that was given before, which nothing falls behind.
    pub floor: i64,
    /// When it was given.
    pub floor_at: i64,
    /// The offset of the earlier time, where there are two; else [`Course::CERTAIN`].
    pub earlier: i64,
    /// See [`Terms::slack_permille`].
    pub slack_permille: i64,
}

impl Course {
    /// There is one time and no other.
    pub const CERTAIN: i64 = i64::MAX;

    /// Time as read at `at`, and nothing before.
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

    /// The latest that it may be when the boot clock says `at`: what keys are judged by. Where the reference turned out
    /// to be a little behind what was given, time goes on at half its speed until they meet.
    pub fn latest(&self, at: i64) -> i64 {
        let since = at.saturating_sub(self.told_at).max(0);
        let told = at
            .saturating_add(self.offset)
            .saturating_add(since * self.slack_permille / 1_000);
        let since_floor = at.saturating_sub(self.floor_at).max(0);
        told.max(self.floor.saturating_add(since_floor / 2))
    }

    /// The earliest that it may be: what is written down and counted by.
    pub fn earliest(&self, at: i64) -> i64 {
        self.latest(at).min(at.saturating_add(self.earlier))
    }
}

/// What the reference says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Telling {
    /// The time.
    pub time: i64,
    /// When it was asked for, by the boot clock.
    pub asked_at: i64,
    /// When it was heard, by the boot clock.
    pub heard_at: i64,
    /// The machine's wall clock minus its boot clock, where it is another clock than the reference.
    pub witness: Option<i64>,
}

/// Something worth telling an operator. All numbers are milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The reference went ahead by so much.
    Ahead(i64),
    /// It fell behind by so much, and is not followed.
    Behind(i64),
    /// It is where it was again.
    Settled,
    /// It fell behind by so much before, and is followed now.
    Followed(i64),
}

/// A time other than the one that was given, and since when it is read.
#[derive(Clone, Copy, Debug)]
struct Claim {
    offset: i64,
    since: i64,
    last: i64,
    is_behind: bool,
}

/// Judges what the reference says.
#[derive(Debug)]
pub struct Reference {
    terms: Terms,
    course: Course,
    /// The offset before the last step ahead.
    before: Option<i64>,
    claim: Option<Claim>,
    has_heard: bool,
}

impl Reference {
    /// Goes by `offset` at `at` until the reference is heard.
    pub fn new(terms: Terms, offset: i64, at: i64) -> Self {
        Self {
            terms,
            course: Course::begun(offset, at, terms.slack_permille),
            before: None,
            claim: None,
            has_heard: false,
        }
    }

    /// How time goes on now.
    pub fn course(&self) -> Course {
        self.course
    }

    /// How far the reference is behind the time that is judged by, in milliseconds; `None` if it is followed.
    pub fn behind(&self, at: i64) -> Option<i64> {
        let claim = self.claim.filter(|claim| claim.is_behind)?;
        Some(self.course.latest(at).saturating_sub(at.saturating_add(claim.offset)))
    }

    /// Takes in what the reference says.
    pub fn told(&mut self, telling: Telling) -> Option<News> {
        let Telling {
            time,
            asked_at,
            heard_at,
            ..
        } = telling;
        let offset = time.saturating_sub(asked_at);
        if !self.has_heard {
            self.has_heard = true;
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
        // The time before several steps is the one that is known to have lasted.
        if self.claim.is_none() {
            self.before = Some(self.course.offset);
        }
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
            // The reference says nothing of how slow the boot clock is: the slack grows no further.
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

    /// Takes in a time that was reached, whatever the reference says.
    pub fn reached(&mut self, time: i64, at: i64) -> Option<News> {
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
