//! Tokens of ECR: who asks for them, and where they are kept.

pub mod credentials;
pub mod failure;
pub mod keys;
pub mod mint;
pub mod mounted;
pub mod store;
pub mod supply;

use std::num::NonZeroUsize;

/// Pod authors choose regions: more live keys than AWS has regions are nobody's honest need.
const LIVE_KEYS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
