//! What the loops of the leader share.

use std::sync::Arc;

use super::backlog::{Backlog, PodReport};
use super::candidates::Candidates;
use super::missed::Missed;
use super::reports::Reports;
use crate::engine::Engine;

/// One term of leadership. The reports outlive it.
pub(super) struct Term {
    pub(super) engine: Arc<Engine>,
    pub(super) reports: Arc<Reports>,
    pub(super) candidates: Candidates,
    pub(super) backlog: Backlog<PodReport>,
    pub(super) missed: Missed,
}
