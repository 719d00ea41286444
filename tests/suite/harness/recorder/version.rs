//! One version of a pull Secret, and its faults.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::content::Described;
use ecr_pull_secrets_core::pull_secret::docker_config::DockerConfig;
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// Hash and expiry of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Hash of the token.
    pub token: u64,
    /// Expiry in Unix seconds, from the token itself.
    pub expires: i64,
}

impl Held {
    /// Reads an `auth`. The stand-in's tokens hold their expiry, as real ones do.
    pub fn read(auth: &str) -> Result<Self, String> {
        let decode = |text: &[u8]| BASE64_STANDARD.decode(text).map_err(|_| "bad base64");
        let pair = decode(auth.as_bytes())?;
        let password = pair.strip_prefix(b"AWS:").ok_or("not of the user AWS")?;
        let inner: Value =
            serde_json::from_slice(&decode(password)?).map_err(|_| "not a token of AWS")?;
        let mut hasher = DefaultHasher::new();
        auth.hash(&mut hasher);
        Ok(Self {
            token: hasher.finish(),
            expires: inner["expiration"].as_i64().ok_or("it never ends")?,
        })
    }
}

/// Content of a version of a pull Secret.
#[derive(Clone, Debug)]
pub struct Version {
    /// UID of the object.
    pub uid: String,
    /// Tokens by host.
    pub hosts: BTreeMap<String, Held>,
}

impl Version {
    /// Parses a Secret as strictly as the kubelet does, and compares it with its annotations.
    pub fn read(secret: &Secret) -> Result<Self, String> {
        let metadata = &secret.metadata;
        let is_type = secret.type_.as_deref() == Some("kubernetes.io/dockerconfigjson");
        let labels = metadata.labels.iter().flatten();
        if !is_type || !labels.into_iter().any(|label| label == owned()) {
            return Err("not a pull Secret of ours".to_owned());
        }
        let data = secret.data.as_ref().ok_or("no data")?;
        let bytes = data.get(".dockerconfigjson").ok_or("no docker config")?;
        let config = DockerConfig::parse(&bytes.0).map_err(|error| error.to_string())?;
        let annotations = metadata.annotations.as_ref();
        let described = Described::read(|name| annotations?.get(name).map(String::as_str));
        let mut hosts = BTreeMap::new();
        for host in config.hosts() {
            let auth = config
                .auth(host)
                .ok_or_else(|| format!("{host}: no auth"))?;
            let held = Held::read(auth).map_err(|why| format!("{host}: {why}"))?;
            let entry = described.0.get(host).ok_or("a host is in no annotation")?;
            let said = entry.lifetime.expires_at.as_second();
            // The token has whole seconds.
            if (said - held.expires).abs() > 1 {
                return Err(format!("{host}: ends at {}, says {said}", held.expires));
            }
            hosts.insert(host.to_owned(), held);
        }
        if hosts.is_empty() {
            return Err("empty".to_owned());
        }
        if hosts.len() != described.0.len() {
            return Err("an annotation names a host that is not there".to_owned());
        }
        let uid = metadata.uid.clone().ok_or("no uid")?;
        Ok(Self { uid, hosts })
    }

    /// Faults in comparison with the version before.
    pub fn faults_after(&self, before: Option<&Self>) -> Vec<String> {
        let Some(before) = before else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        if self.uid != before.uid {
            faults.push("another UID".to_owned());
        }
        for (host, held) in &before.hosts {
            match self.hosts.get(host) {
                None => faults.push(format!("{host} got lost")),
                Some(now) if now.expires < held.expires => {
                    faults.push(format!("{host} got {} s older", held.expires - now.expires));
                }
                Some(_) => {}
            }
        }
        faults
    }
}

fn owned() -> (&'static String, &'static String) {
    use std::sync::LazyLock;
    static LABEL: LazyLock<(String, String)> =
        LazyLock::new(|| (MANAGED_BY.to_owned(), OWNER.to_owned()));
    (&LABEL.0, &LABEL.1)
}

/// Shows that each kind of fault is noticed.
pub fn notices_every_kind_of_fault() {
    const HOST: &str = "123456789012.dkr.ecr.test-land-1.amazonaws.com";
    const OTHER: &str = "210987654321.dkr.ecr.test-land-1.amazonaws.com";
    let auth = |expires: i64| {
        let inner = BASE64_STANDARD.encode(json!({ "expiration": expires }).to_string());
        BASE64_STANDARD.encode(format!("AWS:{inner}"))
    };
    let secret = |uid: &str, said: i64, entries: &[(&str, String)]| -> Secret {
        let auths: BTreeMap<_, _> = entries
            .iter()
            .map(|(host, auth)| (*host, json!({ "auth": auth })))
            .collect();
        let end = jiff::Timestamp::from_second(said).expect("a time");
        let hosts: Vec<&str> = entries.iter().map(|(host, _)| *host).collect();
        let lifetimes = vec![format!("2030-01-01T00:00:00Z/{end}"); entries.len()];
        let prefix = "ecr-pull-secrets.dev";
        serde_json::from_value(json!({
            "metadata": {
                "uid": uid,
                "labels": { MANAGED_BY: OWNER },
                "annotations": {
                    format!("{prefix}/format"): "1",
                    format!("{prefix}/registries"): hosts.join(","),
                    format!("{prefix}/lifetimes"): lifetimes.join(","),
                    format!("{prefix}/identity"): "ambient",
                },
            },
            "type": "kubernetes.io/dockerconfigjson",
            "data": {
                ".dockerconfigjson": BASE64_STANDARD.encode(json!({ "auths": auths }).to_string())
            },
        }))
        .expect("a Secret")
    };
    let (now, later) = (1_900_000_000, 1_900_000_060);
    let good = secret("u", now, &[(HOST, auth(now)), (OTHER, auth(now))]);
    let before = Version::read(&good).expect("well-formed");
    assert!(before.faults_after(None).is_empty() && before.faults_after(Some(&before)).is_empty());

    let unreadable = [
        ("empty", secret("u", now, &[])),
        (
            "bad base64",
            secret("u", now, &[(HOST, "QVdTOg==!".to_owned())]),
        ),
        ("ends at", secret("u", later, &[(HOST, auth(now))])),
        (
            "no data",
            Secret {
                data: None,
                ..good.clone()
            },
        ),
        (
            "not a pull Secret",
            Secret {
                type_: None,
                ..good.clone()
            },
        ),
    ];
    for (what, secret) in unreadable {
        assert!(Version::read(&secret).is_err(), "{what} goes unnoticed");
    }
    let worse = [
        (
            "another UID",
            secret("v", now, &[(HOST, auth(now)), (OTHER, auth(now))]),
        ),
        ("got lost", secret("u", now, &[(HOST, auth(now))])),
        (
            "got 60 s older",
            secret(
                "u",
                now - 60,
                &[(HOST, auth(now - 60)), (OTHER, auth(now - 60))],
            ),
        ),
    ];
    for (what, secret) in worse {
        let faults = Version::read(&secret)
            .expect("well-formed")
            .faults_after(Some(&before));
        assert!(
            faults.iter().any(|fault| fault.contains(what)),
            "{what}: {faults:?}"
        );
    }
}
