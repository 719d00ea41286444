//! A key of a docker config, read as the kubelet's keyring reads it.
//!
//! `HOST`, `https://HOST`, `http://HOST`, `HOST/` and `https://HOST/v1/` are one key: [`index_key`]
//! says which. A key may also have a path, a port, and `*` in its host: [`Keyring::lookup`] says which
//! keys serve an image. `tests/suite/keyring.rs` compares it with the kubelet's own package.
//!
//! Source: `Add` and `URLsMatch` of `k8s.io/kubernetes/pkg/credentialprovider/keyring.go` in
//! v1.36.3, and `Parse` of Go 1.26's `net/url`. That parser refuses `[`, `?` and `\` in a host, so
//! `*` is the only wildcard. Hosts in brackets (IPv6) are not read here: ECR has none.

use std::borrow::Cow;

/// Docker Hub, as the kubelet looks it up.
const DEFAULT_HOST: &[u8] = b"index.docker.io";

/// Host with port, and path, of a key or an image name. Not UTF-8 where an escape says so.
struct Address<'a> {
    host: Cow<'a, [u8]>,
    path: Cow<'a, [u8]>,
}

/// The key under which the kubelet finds this entry of a docker config; `None` if the kubelet ignores
/// the entry.
pub fn index_key(key: &str) -> Option<Cow<'_, [u8]>> {
    let rest = ["https://", "http://"]
        .into_iter()
        .find_map(|scheme| key.strip_prefix(scheme));
    let Address { host, path } = address(rest.unwrap_or(key).as_bytes())?;
    let is_versioned = path.starts_with(b"/v1/") || path.starts_with(b"/v2/");
    let path = path.get(if is_versioned { 3 } else { 0 }..)?;
    Some(match path {
        b"" | b"/" => host,
        path => [&*host, path].concat().into(),
    })
}

/// The keys of a docker config in the order in which the kubelet tries their credentials.
pub struct Keyring<'a>(Vec<KeyringEntry<'a>>);

struct KeyringEntry<'a> {
    key: &'a str,
    index: Cow<'a, [u8]>,
    pattern: Pattern,
}

/// The images that an index key serves.
struct Pattern {
    labels: Vec<Vec<u8>>,
    port: Vec<u8>,
    path: Vec<u8>,
}

impl<'a> Keyring<'a> {
    /// The keyring of these keys.
    pub fn of(keys: impl Iterator<Item = &'a str>) -> Self {
        let mut entries: Vec<KeyringEntry<'a>> = keys.filter_map(KeyringEntry::of).collect();
        entries.sort_by(|one, other| other.index.cmp(&one.index));
        Self(entries)
    }

    /// The keys whose credentials the kubelet tries for an image. The name has neither tag nor
    /// digest. `HOST/` as name: the keys that serve every image of a host. Of keys with one
    /// [`index_key`], the kubelet may try any one first.
    pub fn lookup(&self, name: &str) -> Vec<&'a str> {
        let Some(name_pattern) = Pattern::of(name.as_bytes()) else {
            return self.default(name);
        };
        let found = self.0.iter();
        let found = found.filter(|entry| entry.pattern.takes(&name_pattern));
        let found: Vec<&str> = found.map(|entry| entry.key).collect();
        if found.is_empty() {
            return self.default(name);
        }
        found
    }

    /// Docker Hub's keys, for its images.
    fn default(&self, name: &str) -> Vec<&'a str> {
        if !is_of_hub(name) {
            return Vec::new();
        }
        let hub = self.0.iter().filter(|entry| *entry.index == *DEFAULT_HOST);
        hub.map(|entry| entry.key).collect()
    }
}

impl<'a> KeyringEntry<'a> {
    fn of(key: &'a str) -> Option<Self> {
        let index = index_key(key)?;
        let pattern = Pattern::of(&index).unwrap_or_else(Pattern::of_nothing);
        Some(Self {
            key,
            index,
            pattern,
        })
    }
}

impl Pattern {
    fn of(text: &[u8]) -> Option<Self> {
        let Address { host, path } = address(text)?;
        let (host, port) = split_once(&host, b':');
        let labels = host.split(|byte| *byte == b'.').map(<[u8]>::to_vec);
        Some(Self {
            labels: labels.collect(),
            port: port.to_vec(),
            path: path.to_vec(),
        })
    }

    /// A key that the kubelet parses once, and not again once its escapes are replaced.
    fn of_nothing() -> Self {
        Self {
            labels: Vec::new(),
            port: Vec::new(),
            path: Vec::new(),
        }
    }

    fn takes(&self, name: &Self) -> bool {
        let mut labels = self.labels.iter().zip(&name.labels);
        self.labels.len() == name.labels.len()
            && self.port == name.port
            && name.path.starts_with(&self.path)
            && labels.all(|(pattern, label)| matches(pattern, label))
    }
}

/// Whether the kubelet takes the image for one of Docker Hub's.
fn is_of_hub(name: &str) -> bool {
    match name.split_once('/') {
        Some(("", _)) => false,
        Some(("docker.io" | "index.docker.io", _)) => true,
        Some((first, _)) => !first.contains(['.', ':']),
        None => !name.is_empty(),
    }
}

/// Host and path of a URL without its scheme; `None` if Go does not parse it.
fn address(text: &[u8]) -> Option<Address<'_>> {
    let (text, fragment) = split_once(text, b'#');
    unescape(fragment, |_| true)?;
    if text.iter().any(u8::is_ascii_control) {
        return None;
    }
    let (text, _query) = split_once(text, b'?');
    let (authority, path) = text.split_at(
        text.iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(text.len()),
    );
    let host = match authority.iter().rposition(|byte| *byte == b'@') {
        None => authority,
        Some(at) => {
            let user = &authority[..at];
            if !user.iter().all(|byte| is_of_user(*byte)) {
                return None;
            }
            unescape(user, |_| true)?;
            &authority[at + 1..]
        }
    };
    Some(Address {
        host: parse_host(host)?,
        path: unescape(path, |_| true)?,
    })
}

fn parse_host(host: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (_, port) = split_once(host, b':');
    if !port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let is_ascii = |byte: u8| byte < 0x80;
    if !host
        .iter()
        .all(|byte| !is_ascii(*byte) || is_of_host(*byte))
    {
        return None;
    }
    // Only other bytes than ASCII may be escaped, and the percent sign.
    unescape(host, |byte| !is_ascii(byte) || byte == b'%')
}

fn is_of_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:<>\"%".contains(&byte)
}

/// The parts before and after the first such byte; the second is empty without one.
fn split_once(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == at) {
        Some(place) => (&text[..place], &text[place + 1..]),
        None => (text, b""),
    }
}

/// Replaces each `%XX`; `None` where there are no two digits, or the byte is not allowed.
fn unescape(text: &[u8], is_allowed: impl Fn(u8) -> bool) -> Option<Cow<'_, [u8]>> {
    if !text.contains(&b'%') {
        return Some(text.into());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, more) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
        if !is_allowed(byte) {
            return None;
        }
        out.push(byte);
        rest = more;
    }
    Some(out.into())
}

/// Whether a label matches a pattern in which `*` stands for any text.
fn matches(pattern: &[u8], label: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| label.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = find(rest, part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests;
