//! AWS: credentials, clients of ECR, and one call of `GetAuthorizationToken`. Nothing here knows Kubernetes.

pub(crate) mod clients;
pub(crate) mod failure;
pub(crate) mod keys;
pub(crate) mod mint;

use std::num::NonZeroUsize;

/// Pod authors choose regions: more live keys than AWS has regions are nobody's honest need.
pub(crate) const LIVE_KEYS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
