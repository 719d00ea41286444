//! AWS: credentials, clients of ECR, and one call of `GetAuthorizationToken`. Nothing here knows Kubernetes.

pub mod clients;
pub mod failure;
pub mod keys;
pub mod mint;

use std::num::NonZeroUsize;

/// Pod authors choose regions: more live keys than AWS has regions are nobody's honest need.
pub(crate) const LIVE_KEYS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
