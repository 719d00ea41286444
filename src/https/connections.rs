//! Every open connection, what it is doing, and which one goes when there are too many.
//!
//! A connection that has carried a review is *known*; before that it is *fresh*, and costs its owner
//! nothing but a connect. When there are too many, fresh ones make room for newer fresh
//! ones and known ones for each other, so that ten thousand idle handshakes shut out no API server
//! that is connected, and none that comes.

mod phase;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, interval};

pub(super) use self::phase::Phase;
use crate::telemetry::metrics::Metrics;

/// Connections at a time, each of 25 to 40 KiB. An API server holds one for each review that it waits
/// for: some dozens, and 200 if it creates as many pods at a time as it ever does. Container runtimes
/// grant 1,024 file descriptors at the least.
const CAPACITY: usize = 512;
/// So many may be fresh: they cost nobody anything, and ask for nothing. An API server's are known
/// after some ms, and as long the others wait in the kernel's queue.
const FRESH: usize = 192;
/// Where there are fewer places than that, one in so many.
const SHARE: usize = 3;
/// What is younger is not slow: nobody is cut for another's sake before. So a flood costs 384
/// handshakes a second, and those who wait are served in turn.
const GRACE: Duration = Duration::from_millis(500);
/// How often limits of time are looked at.
const ROUND: Duration = Duration::from_secs(1);

/// What a connection is cut for.
#[derive(Clone, Copy)]
enum Reason {
    /// It took too long.
    Time,
    /// Another one came.
    Room,
    /// Another one's body came.
    Memory,
}

impl Reason {
    /// The label of the metric.
    fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Room => "room",
            Self::Memory => "memory",
        }
    }
}

/// An open connection.
pub struct Connection {
    number: u64,
    /// In ms after `all.start`.
    began: u64,
    all: Arc<Connections>,
    /// The [`Phase`] in the three lowest bits, above them when it began, in ms after `all.start`.
    state: AtomicU64,
    is_known: AtomicBool,
    holds: AtomicU32,
    leaves_rest: AtomicBool,
    /// From then on, the next answer is the last.
    retires: Instant,
    cut: Notify,
}

impl Connection {
    pub(super) fn enter(&self, phase: Phase) {
        self.enter_at(phase, self.all.now());
    }

    fn enter_at(&self, phase: Phase, now: u64) {
        self.state.store(state(phase, now), Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().0
    }

    /// Its phase, and since when.
    fn state(&self) -> (Phase, u64) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = Phase::ALL.get((state & 7) as usize).copied();
        (phase.unwrap_or(Phase::Work), state >> 3)
    }

    /// The request is here as a whole.
    pub fn has_asked(&self) {
        self.enter(Phase::Work);
    }

    /// And it makes sense: whoever sends rubbish stays fresh.
    pub fn is_understood(&self) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            let mut table = self.all.table();
            if let Some(this) = table.fresh.remove(&self.number) {
                table.known.insert(self.number, this);
            }
        }
    }

    /// Its body holds so many KiB of what all bodies share.
    pub(crate) fn holds(&self, kib: usize) {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        self.holds.store(kib, Ordering::Relaxed);
    }

    /// The answer is there. If its request has a body that is not, nobody wants the rest of it.
    pub(super) fn has_answer(&self, has_body: bool) {
        let leaves_rest = has_body && self.phase() == Phase::Body;
        self.leaves_rest.store(leaves_rest, Ordering::Relaxed);
        self.enter(Phase::Answer);
    }

    /// Whether the client may still send what nobody wants.
    pub(super) fn leaves_rest(&self) -> bool {
        self.leaves_rest.load(Ordering::Relaxed)
    }

    /// Ends other connections whose bodies have been coming in for the longest time, as many of them as hold
    /// so many KiB together. These are free soon after. None ends if all slow ones hold less.
    pub(crate) fn cut_slow_bodies(&self, kib: u32) -> bool {
        self.all.cut_slow_bodies(kib, self.number, self.all.now())
    }

    /// Whether the next answer should be the last, so that new replicas get their share of traffic.
    pub(super) fn is_old(&self) -> bool {
        Instant::now() >= self.retires
    }

    /// Waits until somebody wants its end.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}

fn state(phase: Phase, since: u64) -> u64 {
    since << 3 | phase as u64
}

/// Of the connections that are in one of some phases, those that have been for long, and their rank: the one that
/// has been for the longest time has the lowest.
fn slow<'a>(
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    now: u64,
    is_one: impl Fn(&Connection, Phase) -> bool,
) -> impl Iterator<Item = ((u64, u64), &'a Arc<Connection>)> {
    connections.filter_map(move |connection| {
        let (phase, since) = connection.state();
        let is_slow = now.saturating_sub(since) >= millis(GRACE);
        let rank = (since, connection.number);
        (is_slow && is_one(connection, phase)).then_some((rank, connection))
    })
}

/// A place among the open connections, until it is dropped.
pub(super) struct Open {
    connection: Arc<Connection>,
    was_full: bool,
}

impl Open {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether somebody had to go for it.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Self { connection, .. } = self;
        let mut table = connection.all.table();
        if table.fresh.remove(&connection.number).is_none() {
            table.known.remove(&connection.number);
        }
        connection.all.metrics.connections.dec();
    }
}

/// By number: the oldest first.
#[derive(Default)]
struct Table {
    fresh: BTreeMap<u64, Arc<Connection>>,
    known: BTreeMap<u64, Arc<Connection>>,
    last: u64,
}

impl Table {
    fn len(&self) -> usize {
        self.fresh.len() + self.known.len()
    }

    fn is_full(&self) -> bool {
        self.fresh.len() >= FRESH || self.len() >= CAPACITY
    }
}

/// All of them.
pub struct Connections {
    table: Mutex<Table>,
    start: Instant,
    age: Duration,
    metrics: Metrics,
}

impl Connections {
    /// None yet. Each retires between `age` and twice that.
    pub fn new(age: Duration, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            start: Instant::now(),
            age,
            metrics,
        })
    }

    /// A place for one more, if there is one or can be made.
    pub(super) fn open(self: &Arc<Self>) -> Option<Open> {
        self.open_at(self.now())
    }

    fn open_at(self: &Arc<Self>, now: u64) -> Option<Open> {
        let mut table = self.table();
        let was_full = table.is_full();
        if was_full && !self.make_room(&mut table, now) {
            return None;
        }
        table.last += 1;
        let number = table.last;
        let jitter = RandomState::new().hash_one(number) % 1024;
        #[allow(clippy::cast_possible_truncation, reason = "it is below 1024")]
        let age = self.age + self.age * jitter as u32 / 1024;
        let connection = Arc::new(Connection {
            number,
            began: now,
            all: self.clone(),
            state: AtomicU64::new(state(Phase::Handshake, now)),
            is_known: AtomicBool::new(false),
            holds: AtomicU32::new(0),
            leaves_rest: AtomicBool::new(false),
            retires: Instant::now() + age,
            cut: Notify::new(),
        });
        table.fresh.insert(number, connection.clone());
        self.metrics.connections.inc();
        Some(Open {
            connection,
            was_full,
        })
    }

    /// Ends one that is least likely to be missed.
    pub(super) fn shrink(&self) -> bool {
        self.make_room(&mut self.table(), self.now())
    }

    fn make_room(&self, table: &mut Table, now: u64) -> bool {
        let oldest = || {
            let (_, oldest) = table.fresh.first_key_value()?;
            (now.saturating_sub(oldest.began) >= millis(GRACE)).then_some(oldest)
        };
        let known = |phases: &[Phase]| {
            let is_one = |_: &Connection, phase| phases.contains(&phase);
            let slow = slow(table.known.values(), now, is_one);
            let slowest = slow.min_by_key(|(rank, _)| *rank);
            slowest.map(|(_, connection)| connection)
        };
        let victim = if table.fresh.len() * SHARE > table.len() {
            oldest()
        } else {
            known(&[Phase::Header, Phase::Body, Phase::Linger])
                .or_else(|| known(&[Phase::Idle]))
                .or_else(oldest)
        };
        let victim = victim.map(|victim| victim.number);
        victim.is_some_and(|number| self.cut(table, number, Reason::Room))
    }

    fn cut_slow_bodies(&self, kib: u32, by: u64, now: u64) -> bool {
        let mut table = self.table();
        let is_holder = |connection: &Connection, phase| {
            let is_another = connection.number != by;
            is_another && phase == Phase::Body && connection.holds.load(Ordering::Relaxed) > 0
        };
        let both = table.fresh.values().chain(table.known.values());
        let mut slow = slow(both, now, is_holder).collect::<Vec<_>>();
        slow.sort_unstable_by_key(|(rank, _)| *rank);
        let mut victims = Vec::new();
        let mut freed = 0;
        for (_, connection) in slow {
            if freed >= kib {
                break;
            }
            freed += connection.holds.load(Ordering::Relaxed);
            victims.push(connection.number);
        }
        if freed < kib {
            return false;
        }
        for number in victims {
            self.cut(&mut table, number, Reason::Memory);
        }
        true
    }

    /// Cuts what takes too long, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut round = interval(ROUND);
        loop {
            round.tick().await;
            self.cut_late(self.now());
        }
    }

    fn cut_late(&self, now: u64) {
        let mut table = self.table();
        let both = table.fresh.values().chain(table.known.values());
        let is_late = |connection: &&Arc<Connection>| {
            let (phase, since) = connection.state();
            let limit = phase.limit();
            limit.is_some_and(|limit| now.saturating_sub(since) >= millis(limit))
        };
        let late: Vec<_> = both.filter(is_late).map(|late| late.number).collect();
        for number in late {
            self.cut(&mut table, number, Reason::Time);
        }
    }

    fn cut(&self, table: &mut Table, number: u64, reason: Reason) -> bool {
        let fresh = table.fresh.remove(&number);
        let Some(connection) = fresh.or_else(|| table.known.remove(&number)) else {
            return false;
        };
        let phase = connection.phase().name();
        self.metrics.connection_cut(phase, reason.name());
        connection.cut.notify_one();
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In ms after the start.
    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
