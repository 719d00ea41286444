//! Every open connection, its phase, and its eviction when there are too many.
//!
//! A connection that has carried a review is *known*. Before that it is *fresh*, and costs the
//! client nothing but a connect. Under a flood, fresh connections make room for newer fresh ones,
//! and known ones for each other. So ten thousand idle handshakes close no connection of an API
//! server, and keep out no new one.

mod phase;
mod record;
mod table;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, interval};

pub(super) use self::phase::ConnectionPhase;
use self::record::{ConnectionRecord, millis};
use self::table::ConnectionTable;
use crate::telemetry::metrics::Metrics;

/// The interval between two checks of time limits.
const LIMIT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The reason of an eviction.
#[derive(Clone, Copy)]
enum EvictionReason {
    /// The phase was over its limit.
    Time,
    /// A new connection needed the slot.
    Room,
    /// Another body needed the memory.
    Memory,
}

impl EvictionReason {
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
    record: Arc<ConnectionRecord>,
    all: Arc<Connections>,
}

impl Connection {
    pub(super) fn enter(&self, phase: ConnectionPhase) {
        self.record.enter(phase, self.all.now());
    }

    pub(super) fn phase(&self) -> ConnectionPhase {
        self.record.phase()
    }

    /// The whole request has been received.
    pub fn request_received(&self) {
        self.enter(ConnectionPhase::Work);
    }

    /// The request is a valid review, so the connection is known. One with invalid input stays fresh.
    pub fn review_decoded(&self) {
        if self.record.set_known() {
            self.all.table.lock().promote(self.record.number);
        }
    }

    /// A body arrives, and holds no charged memory yet.
    pub(crate) fn body_begins(&self, is_long: bool) {
        self.record.set_long_body(is_long);
        self.set_charged(0);
    }

    /// The body holds this much of the memory of all bodies, in KiB.
    pub(crate) fn set_charged(&self, kib: usize) {
        self.record
            .set_charged(u32::try_from(kib).unwrap_or(u32::MAX));
    }

    /// The answer is ready. If the body is still incomplete, the rest of it is discarded.
    pub(super) fn answer_ready(&self, has_body: bool) {
        let has_unread_body = has_body && self.phase() == ConnectionPhase::Body;
        self.record.set_unread_body(has_unread_body);
        self.enter(ConnectionPhase::Answer);
    }

    /// Whether the client may still send a body that is discarded.
    pub(super) fn has_unread_body(&self) -> bool {
        self.record.has_unread_body()
    }

    /// Evicts other connections with slow bodies, or long ones alone, the slowest first, until they
    /// free this much memory. Evicts none, and returns false, if all slow bodies hold less.
    pub(crate) fn evict_slow_bodies(&self, kib: u32, only_long: bool) -> bool {
        let (number, now) = (self.record.number, self.all.now());
        self.all.evict_slow_bodies(kib, only_long, number, now)
    }

    /// Whether the next answer is the last one, so that new replicas get their share of traffic.
    pub(super) fn is_old(&self) -> bool {
        Instant::now() >= self.record.retires
    }

    /// Waits for the eviction.
    pub(super) async fn evicted(&self) {
        self.record.evicted().await;
    }
}

/// A slot for an open connection, until it is dropped.
pub(super) struct ConnectionSlot {
    connection: Arc<Connection>,
    was_full: bool,
}

impl ConnectionSlot {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether another connection was evicted for it.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Connection { record, all } = &*self.connection;
        all.table.lock().remove(record.number);
        all.metrics.connections.dec();
    }
}

/// All open connections of the HTTPS port.
pub struct Connections {
    table: Mutex<ConnectionTable>,
    start: Instant,
    age: Duration,
    metrics: Metrics,
}

impl Connections {
    /// No connection yet. Each retires between `age` and twice that.
    pub fn new(age: Duration, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            start: Instant::now(),
            age,
            metrics,
        })
    }

    /// A slot for one more connection, if one is free or can be freed.
    pub(super) fn open(self: &Arc<Self>) -> Option<ConnectionSlot> {
        self.open_at(self.now())
    }

    fn open_at(self: &Arc<Self>, now: u64) -> Option<ConnectionSlot> {
        let mut table = self.table.lock();
        let was_full = table.is_full();
        if was_full && !self.make_room(&mut table, now) {
            return None;
        }
        let age = self.age.mul_f64(1.0 + fastrand::f64());
        let number = table.next_number();
        let record = Arc::new(ConnectionRecord::new(number, now, Instant::now() + age));
        table.insert(record.clone());
        self.metrics.connections.inc();
        let connection = Connection {
            record,
            all: self.clone(),
        };
        Some(ConnectionSlot {
            connection: Arc::new(connection),
            was_full,
        })
    }

    /// Evicts the connection that is needed least.
    pub(super) fn evict_one(&self) -> bool {
        self.make_room(&mut self.table.lock(), self.now())
    }

    fn make_room(&self, table: &mut ConnectionTable, now: u64) -> bool {
        let least_needed = table.least_needed(now);
        least_needed.is_some_and(|number| self.evict(table, number, EvictionReason::Room))
    }

    fn evict_slow_bodies(&self, kib: u32, only_long: bool, but: u64, now: u64) -> bool {
        let mut table = self.table.lock();
        let Some(slow) = table.slow_bodies(kib, only_long, but, now) else {
            return false;
        };
        for number in slow {
            self.evict(&mut table, number, EvictionReason::Memory);
        }
        true
    }

    /// Evicts connections whose phases are over their limits. Never returns.
    pub(super) async fn enforce_limits(self: Arc<Self>) {
        let mut tick = interval(LIMIT_CHECK_INTERVAL);
        loop {
            tick.tick().await;
            self.evict_overdue(self.now());
        }
    }

    fn evict_overdue(&self, now: u64) {
        let mut table = self.table.lock();
        for number in table.overdue(now) {
            self.evict(&mut table, number, EvictionReason::Time);
        }
    }

    fn evict(&self, table: &mut ConnectionTable, number: u64, reason: EvictionReason) -> bool {
        let Some(record) = table.remove(number) else {
            return false;
        };
        self.metrics
            .connection_evicted(record.phase().name(), reason.name());
        record.evict();
        true
    }

    /// The time in ms after the start.
    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests;
