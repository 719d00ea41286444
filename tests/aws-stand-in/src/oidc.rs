//! IAM's OIDC providers: which issuers an account accepts tokens of, and the keys that verify them.
//!
//! An issuer that no provider ever named is not verified, because its keys cannot be fetched: for it, the trust policy of a
//! role stands for a provider, and only the claims count. A test that names a provider has each signature checked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use jiff::{SignedDuration, Timestamp};

use crate::{
    identity::account_of,
    oidc_documents, spec,
    state::Shared,
    web_identity::{AUDIENCE, Jwt, invalid},
    wire::ApiError,
};

/// How long keys are used without another look. A key id that is not among them has them fetched at once. AWS says neither;
/// an issuer that rotates its key depends on the second.
const KEYS_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// The public keys of an issuer, by key id.
pub(crate) type Keys = HashMap<String, RsaPublicKeyComponents<Vec<u8>>>;

/// All providers.
#[derive(Default)]
pub(crate) struct Providers {
    by_place: BTreeMap<(String, String), Provider>,
    /// Issuers that a provider has ever named.
    verified: BTreeSet<String>,
}

struct Provider {
    spec: spec::OidcProvider,
    fetched: Option<(Timestamp, Keys)>,
}

impl Provider {
    /// The key of a token, unless the keys are too old.
    fn key(&self, token: &Jwt, now: Timestamp) -> Option<&RsaPublicKeyComponents<Vec<u8>>> {
        let (at, keys) = self.fetched.as_ref()?;
        let is_fresh = now.duration_since(*at) < KEYS_LIFETIME;
        keys.get(token.header.kid.as_deref()?).filter(|_| is_fresh)
    }
}

impl Providers {
    /// Adds a provider. One with the same account and issuer is replaced, and its keys are forgotten.
    pub(crate) fn put(&mut self, spec: spec::OidcProvider) {
        self.verified.insert(spec.issuer.clone());
        let place = (spec.account.clone(), spec.issuer.clone());
        let fetched = None;
        self.by_place.insert(place, Provider { spec, fetched });
    }

    pub(crate) fn remove(&mut self, account: &str, issuer: &str) {
        let place = (account.to_owned(), issuer.to_owned());
        self.by_place.remove(&place);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &spec::OidcProvider> {
        self.by_place.values().map(|provider| &provider.spec)
    }

    fn provider(&self, account: &str, issuer: &str) -> Option<&Provider> {
        self.by_place.get(&(account.to_owned(), issuer.to_owned()))
    }

    /// Checks that an account accepts the token's issuer, and that the issuer signed it. The client ids of the provider.
    pub(crate) fn check<'a>(
        &self,
        mut roles: impl Iterator<Item = &'a spec::Role>,
        account: &str,
        token: &Jwt,
        now: Timestamp,
    ) -> Result<Vec<String>, ApiError> {
        let issuer = token.issuer();
        let missing = || {
            let message = format!("No OpenIDConnect provider found in your account for {issuer}");
            invalid(&message)
        };
        if self.verified.contains(issuer) {
            let provider = self.provider(account, issuer).ok_or_else(missing)?;
            let key = provider.key(token, now).ok_or_else(|| {
                let message = "Couldn't retrieve verification key from your identity provider,  \
                               please reference AssumeRoleWithWebIdentity documentation for requirements";
                invalid(message)
            })?;
            verify(key, token)?;
            return Ok(provider.spec.client_ids.clone());
        }
        let is_trusted = roles.any(|role| {
            let mut identities = role.web_identities.iter();
            account_of(&role.arn) == Some(account)
                && identities.any(|trusted| trusted.issuer == issuer)
        });
        is_trusted
            .then(|| vec![AUDIENCE.to_owned()])
            .ok_or_else(missing)
    }
}

/// Checks the signature. RS256 is what API servers sign with unless they have a key of another kind.
fn verify(key: &RsaPublicKeyComponents<Vec<u8>>, token: &Jwt) -> Result<(), ApiError> {
    let verified = key.verify(
        &RSA_PKCS1_2048_8192_SHA256,
        token.signed.as_bytes(),
        &token.signature,
    );
    if token.header.alg == "RS256" && verified.is_ok() {
        return Ok(());
    }
    // AWS's text is not known.
    Err(invalid("The signature of the ID Token is not valid"))
}

/// Fetches the keys for a token, unless its key is known. Without them, [`Providers::check`] refuses the token.
pub(crate) async fn fetch_keys(shared: &Shared, role_arn: &str, token: &str, now: Timestamp) {
    let (Ok(token), Some(account)) = (Jwt::parse(token), account_of(role_arn)) else {
        return;
    };
    let provider = {
        let state = shared.lock();
        let provider = state.providers.provider(account, token.issuer());
        let lacking = provider.filter(|provider| provider.key(&token, now).is_none());
        lacking.map(|provider| provider.spec.clone())
    };
    let Some(provider) = provider else {
        return;
    };
    if let Some(keys) = oidc_documents::keys(&provider).await {
        let mut state = shared.lock();
        let place = (provider.account.clone(), provider.issuer.clone());
        let known = state.providers.by_place.get_mut(&place);
        // Another one may have replaced it meanwhile.
        if let Some(known) = known.filter(|known| known.spec == provider) {
            known.fetched = Some((now, keys));
        }
    }
}
