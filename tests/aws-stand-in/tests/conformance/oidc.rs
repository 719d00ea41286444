//! STS: tokens of an issuer that IAM knows, with its real keys.

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use aws_stand_in::{
    issuer_host::{DISCOVERY, IssuerHost, KEY_SET},
    spec::{OidcProvider, WebIdentity},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    sts::world_with,
    support::{SUBJECT, World, now, role},
    web_identity::exchange,
};

const ACCOUNT: &str = "210987654321";
const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  \
                      please reference AssumeRoleWithWebIdentity documentation for requirements";

/// A key of an issuer.
struct Key {
    pair: RsaKeyPair,
    id: &'static str,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { pair, id }
    }

    fn public(&self) -> Value {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // DER: a sequence of the modulus, 256 bytes behind a zero, and the exponent 65537.
        let key = self.pair.public_key().as_ref();
        assert!(key.ends_with(&[2, 3, 1, 0, 1]) && key.len() == 270);
        json!({
            "use": "sig", "kty": "RSA", "kid": self.id, "alg": "RS256",
            "n": part(&key[9..265]),
            "e": part(&key[267..]),
        })
    }

    /// A token of an issuer, with changes to header and claims.
    fn token(&self, issuer: &str, header: &Value, claims: &Value) -> String {
        let changed = |mut all: Value, changes: &Value| {
            for (name, value) in changes.as_object().unwrap() {
                all[name] = value.clone();
            }
            URL_SAFE_NO_PAD.encode(all.to_string())
        };
        let time = now().as_second();
        let all = json!({
            "iss": issuer, "sub": SUBJECT, "aud": ["sts.amazonaws.com"],
            "iat": time, "nbf": time, "exp": time + 600,
        });
        let header = changed(json!({"alg": "RS256", "kid": self.id}), header);
        let signed = format!("{header}.{}", changed(all, claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let (random, text) = (SystemRandom::new(), signed.as_bytes());
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A world whose role trusts an issuer that IAM knows.
struct Site {
    world: World,
    host: IssuerHost,
}

impl Site {
    async fn new(keys: &[&Key]) -> Self {
        let host = IssuerHost::start().await.unwrap();
        let mut role = role();
        role.web_identities = vec![WebIdentity {
            issuer: host.url(),
            subject: SUBJECT.to_owned(),
        }];
        let site = Self {
            world: world_with(role).await,
            host,
        };
        site.publish(keys);
        site.know(ACCOUNT).await;
        site
    }

    /// The discovery document, with this issuer.
    fn discovery(&self, issuer: &str) -> Value {
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{}{KEY_SET}", self.host.url()),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn publish(&self, keys: &[&Key]) {
        let discovery = self.discovery(&self.host.url());
        self.host.publish(DISCOVERY, &discovery);
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.host.publish(KEY_SET, &json!({ "keys": keys }));
    }

    async fn know(&self, account: &str) {
        let provider = OidcProvider {
            account: account.to_owned(),
            issuer: self.host.url(),
            client_ids: vec!["sts.amazonaws.com".to_owned()],
            authority: self.host.authority().to_owned(),
        };
        self.world.client.oidc_provider(&provider).await.unwrap();
    }

    /// Code and message of the refusal of a token; blank if it gets a session.
    async fn refusal(&self, token: &str) -> (String, String) {
        let answer = exchange(&self.world, token, &[]).await;
        let (_, code, message) = answer.sts_error();
        (code.to_owned(), message.to_owned())
    }

    /// The same for a good token of a key.
    async fn refusal_of(&self, key: &Key) -> String {
        let token = key.token(&self.host.url(), &json!({}), &json!({}));
        self.refusal(&token).await.1
    }
}

#[tokio::test]
async fn only_signed_claims_get_a_session() {
    let (key, other) = (Key::new("one"), Key::new("one"));
    let site = Site::new(&[&key]).await;
    assert_eq!(site.refusal_of(&key).await, "");
    let (past, future) = (now().as_second() - 1, now().as_second() + 300);
    let invalid = "InvalidIdentityToken";
    for (key, header, claims, code, message) in [
        (&other, json!({}), json!({}), invalid, "The signature"),
        (&key, json!({"alg": "HS256"}), json!({}), invalid, "The sig"),
        (&key, json!({"kid": "two"}), json!({}), invalid, NO_KEY),
        (&key, json!({"kid": null}), json!({}), invalid, NO_KEY),
        (
            &key,
            json!({}),
            json!({"aud": ["https://kubernetes.default.svc"]}),
            invalid,
            "Incorrect token audience",
        ),
        (&key, json!({}), json!({"nbf": future}), invalid, "The ID"),
        (
            &key,
            json!({}),
            json!({"exp": past}),
            "ExpiredTokenException",
            "Token expired: ",
        ),
        (
            &key,
            json!({}),
            json!({"sub": "system:serviceaccount:other:account"}),
            "AccessDenied",
            "Not authorized",
        ),
    ] {
        let token = key.token(&site.host.url(), &header, &claims);
        let refusal = site.refusal(&token).await;
        assert_eq!(refusal.0, code, "{header} {claims}");
        assert!(refusal.1.starts_with(message), "{refusal:?}");
    }
}

#[tokio::test]
async fn provider_counts_in_its_own_account() {
    let key = Key::new("one");
    let site = Site::new(&[&key]).await;
    let client = &site.world.client;
    let url = site.host.url();
    client.remove_oidc_provider(ACCOUNT, &url).await.unwrap();
    site.know("123456789012").await;
    let missing = format!("No OpenIDConnect provider found in your account for {url}");
    assert_eq!(site.refusal_of(&key).await, missing);
    site.know(ACCOUNT).await;
    assert_eq!(site.refusal_of(&key).await, "");
}

#[tokio::test]
async fn keys_are_fetched_when_one_is_unknown() {
    let (key, next) = (Key::new("one"), Key::new("two"));
    let site = Site::new(&[&key]).await;
    assert_eq!(site.refusal_of(&key).await, "");
    let requests = site.host.requests();
    assert_eq!(site.refusal_of(&key).await, "");
    assert_eq!(site.host.requests(), requests);
    // The key has been rotated, and not yet published.
    assert_eq!(site.refusal_of(&next).await, NO_KEY);
    site.publish(&[&key, &next]);
    assert_eq!(site.refusal_of(&next).await, "");
    // What is known needs no documents.
    site.host.withdraw();
    assert_eq!(site.refusal_of(&key).await, "");
    assert_eq!(site.refusal_of(&Key::new("three")).await, NO_KEY);
}

#[tokio::test]
async fn documents_must_be_trusted_complete_and_of_their_issuer() {
    let key = Key::new("one");
    let site = Site::new(&[&key]).await;
    let other = IssuerHost::start().await.unwrap();
    site.host.publish(DISCOVERY, &site.discovery(&other.url()));
    assert_eq!(site.refusal_of(&key).await, NO_KEY);
    let mut incomplete = site.discovery(&site.host.url());
    incomplete["response_types_supported"] = Value::Null;
    site.host.publish(DISCOVERY, &incomplete);
    assert_eq!(site.refusal_of(&key).await, NO_KEY);
    site.publish(&[&key]);
    let untrusting = OidcProvider {
        account: ACCOUNT.to_owned(),
        issuer: site.host.url(),
        client_ids: vec!["sts.amazonaws.com".to_owned()],
        authority: other.authority().to_owned(),
    };
    site.world.client.oidc_provider(&untrusting).await.unwrap();
    assert_eq!(site.refusal_of(&key).await, NO_KEY);
    site.know(ACCOUNT).await;
    assert_eq!(site.refusal_of(&key).await, "");
}

#[tokio::test]
async fn slow_document_is_asked_for_again() {
    let key = Key::new("one");
    let site = Site::new(&[&key]).await;
    // Longer than one attempt may take.
    site.host.delay([Duration::from_secs(60)]);
    assert_eq!(site.refusal_of(&key).await, "");
    assert_eq!(site.host.requests(), 3);
}
