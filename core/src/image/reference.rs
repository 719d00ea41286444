//! The grammar of image references: `[DOMAIN/]REPOSITORY[:TAG][@DIGEST]`.
//!
//! It is the same language as that of `ParseNormalizedNamed` of github.com/distribution/reference,
//! byte for byte and ASCII only. The kubelet applies that function before it looks up credentials
//! (k/k `pkg/util/parsers`). Both accept the same texts and find the same domain. The parser is
//! written by hand because the usual regular expression costs 16 MiB of memory and 38 ms to compile.
//! It borrows from the text, allocates nothing, and is linear in its length.
//!
//! It never guesses: a scheme, user info, white space or an upper-case repository makes the whole
//! text invalid.

/// The domain of a reference that names none.
const DOCKER_HUB: &str = "docker.io";
/// The old name of Docker Hub; the grammar replaces it by [`DOCKER_HUB`].
const DOCKER_INDEX: &str = "index.docker.io";
/// Docker Hub's prefix for a repository of one component: `nginx` is stored as `library/nginx`.
const OFFICIAL: &str = "library/";
/// `RepositoryNameTotalLengthMax` in bytes, without the domain.
const REPOSITORY_LIMIT: usize = 255;
/// Limit of a tag in bytes.
const TAG_LIMIT: usize = 128;
/// Digest algorithms that the kubelet registers (crypto/sha256 and crypto/sha512), with the length
/// of their hex form.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// A parsed image reference. All parts but a default domain are slices of the parsed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    domain: &'a str,
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Why a text is not an image reference. The kubelet reports such a text as `InvalidImageName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// An empty text: valid in a workload's template, never in a pod.
    #[error("the image reference is empty")]
    Empty,
    /// Exactly 64 lower-case hex digits.
    #[error("64 hex digits are an image id, not a reference")]
    ImageId,
    /// The part before the first slash is neither a host (with port) nor part of a repository.
    #[error(
        "the registry must be a host name or an IPv6 address in brackets, with an optional numeric port"
    )]
    Domain,
    /// `HOST/` or `:TAG`.
    #[error("the repository is empty")]
    EmptyRepository,
    /// An upper-case letter in the repository, with its own remedy.
    #[error("the repository must be lower-case")]
    UpperCase,
    /// Two slashes in a row, a leading or trailing separator, white space, or a byte that is not
    /// ASCII.
    #[error(
        "the repository must be made of [a-z0-9], separated by one of `.`, `_`, `__`, dashes or `/`"
    )]
    Repository,
    /// More than 255 bytes, including Docker Hub's `library/`.
    #[error("the repository is longer than 255 characters")]
    RepositoryTooLong,
    /// An empty tag, or one with an invalid character.
    #[error("the tag must be made of [A-Za-z0-9_.-] and may not begin with a dot or a dash")]
    Tag,
    /// More than 128 bytes.
    #[error("the tag is longer than 128 characters")]
    TagTooLong,
    /// An unknown algorithm, or a value that is not lower-case hex of the algorithm's length.
    #[error(
        "the digest must be sha256, sha384 or sha512, a colon, and the whole value in lower-case hex"
    )]
    Digest,
}

impl<'a> Reference<'a> {
    /// Parses `text`.
    pub fn parse(text: &'a str) -> Result<Self, InvalidReference> {
        if text.is_empty() {
            return Err(InvalidReference::Empty);
        }
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(InvalidReference::ImageId);
        }

        // `@` occurs in no name and no tag, so the first one starts the digest. A colon may also
        // start a port, but a slash follows every port and no tag.
        let (named, digest) = split_at_first(text, '@');
        let last_component = named.rfind('/').unwrap_or(0);
        let (name, tag) = match named[last_component..].find(':') {
            Some(colon) => {
                let colon = last_component + colon;
                (&named[..colon], Some(&named[colon + 1..]))
            }
            None => (named, None),
        };

        let (domain, repository) = split_domain(name)?;
        check_length(domain, repository)?;
        tag.map_or(Ok(()), check_tag)?;
        digest.map_or(Ok(()), check_digest)?;
        Ok(Self {
            domain,
            repository,
            tag,
            digest,
        })
    }

    /// The registry's host, with its port if the text has one; `docker.io` if the text names none.
    ///
    /// Empty if the first component has a dot and an underscore (`my_host.example/app`). Such a
    /// component is not a host but is valid in a path, so the grammar treats the whole name as a
    /// repository without a registry.
    pub fn domain(&self) -> &'a str {
        self.domain
    }

    /// The path on the registry, as written: `nginx` stays `nginx`, although Docker Hub stores it
    /// under `library/`.
    pub fn repository(&self) -> &'a str {
        self.repository
    }

    /// The tag. It has no default here: `latest` is the kubelet's default.
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// The digest, `ALGORITHM:HEX`. Runtimes prefer it to a tag.
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }
}

/// As `splitDockerDomain` of normalize.go, followed by the checks of both parts.
fn split_domain(name: &str) -> Result<(&str, &str), InvalidReference> {
    let (domain, repository) = match name.split_once('/') {
        // A bare `HOST` or `HOST:443` is a name on Docker Hub too.
        None => (DOCKER_HUB, name),
        Some((DOCKER_INDEX, rest)) => (DOCKER_HUB, rest),
        Some((first, rest)) if names_a_host(first) => (first, rest),
        Some(_) => (DOCKER_HUB, name),
    };
    let repository_check = check_repository(repository);
    if is_domain(domain) {
        return repository_check.map(|()| (domain, repository));
    }
    if check_repository(name).is_ok() {
        return Ok(("", name));
    }
    Err(repository_check.err().unwrap_or(InvalidReference::Domain))
}

/// Whether the part before the first slash is a host, and not a user of Docker Hub.
fn names_a_host(first: &str) -> bool {
    first == "localhost"
        || first
            .bytes()
            .any(|byte| matches!(byte, b'.' | b':') || byte.is_ascii_uppercase())
}

/// Whether the text is `host[:port]`, with a DNS name of any case or `[IPv6]` without a zone. As in
/// the original, addresses are checked only for their characters, and names and ports not for their
/// length.
fn is_domain(text: &str) -> bool {
    let (host_is_valid, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = split_at_first(inner, ']');
            let digits = address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':');
            (
                !address.is_empty() && digits && rest.is_some(),
                rest.unwrap_or_default(),
            )
        }
        None => {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (host.split('.').all(is_domain_label), rest)
        }
    };
    let port_is_valid = rest.is_empty()
        || rest
            .strip_prefix(':')
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    host_is_valid && port_is_valid
}

fn is_domain_label(label: &str) -> bool {
    let inside = label
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

fn check_repository(repository: &str) -> Result<(), InvalidReference> {
    if repository.is_empty() {
        return Err(InvalidReference::EmptyRepository);
    }
    if repository.split('/').all(is_path_component) {
        return Ok(());
    }
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(InvalidReference::UpperCase);
    }
    Err(InvalidReference::Repository)
}

/// Whether the text is `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`: runs of letters and digits, with exactly
/// one separator between two runs.
fn is_path_component(component: &str) -> bool {
    let mut rest = component.trim_start_matches(is_alphanumeric);
    if rest.len() == component.len() {
        return false;
    }
    while !rest.is_empty() {
        let run = rest.trim_start_matches(|symbol| !is_alphanumeric(symbol));
        let separator = &rest[..rest.len() - run.len()];
        let dashes = separator.bytes().all(|byte| byte == b'-');
        if run.is_empty() || !(dashes || matches!(separator, "." | "_" | "__")) {
            return false;
        }
        rest = run.trim_start_matches(is_alphanumeric);
    }
    true
}

fn is_alphanumeric(symbol: char) -> bool {
    symbol.is_ascii_lowercase() || symbol.is_ascii_digit()
}

fn check_length(domain: &str, repository: &str) -> Result<(), InvalidReference> {
    let official = domain == DOCKER_HUB && !repository.contains('/');
    let length = repository.len() + if official { OFFICIAL.len() } else { 0 };
    if length > REPOSITORY_LIMIT {
        return Err(InvalidReference::RepositoryTooLong);
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), InvalidReference> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_with_word = tag.bytes().next().is_some_and(word);
    if !starts_with_word
        || !tag
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
    {
        return Err(InvalidReference::Tag);
    }
    if tag.len() > TAG_LIMIT {
        return Err(InvalidReference::TagTooLong);
    }
    Ok(())
}

fn check_digest(digest: &str) -> Result<(), InvalidReference> {
    let (algorithm, value) = digest.split_once(':').ok_or(InvalidReference::Digest)?;
    let known = ALGORITHMS.contains(&(algorithm, value.len()));
    if known && value.bytes().all(is_lower_hex) {
        Ok(())
    } else {
        Err(InvalidReference::Digest)
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn split_at_first(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator)
        .map_or((text, None), |(before, after)| (before, Some(after)))
}
