//! What a foreign text may say in a log line, an Event or an error.
//!
//! AWS, its SDK, proxies and the API server put into their texts whatever they received: a refused
//! signature comes back with the whole request, session token included. [`scrub`] removes what may
//! be a credential, and keeps what helps: error codes, ARNs, host names, files and line numbers.
//! It does not search for randomness. A long run of the characters that credentials consist of stays
//! only if it reads like names (`is_readable`): words, numbers, and the few shapes of AWS's own
//! ids. So an unknown kind of token is removed, too. A name that reads like a token is lost.
//!
//! [`detail`] also drops the body of an answer, and fits the text on one line.

#[cfg(test)]
mod tests;

/// The sign in place of removed text.
pub const REMOVED: &str = "[removed]";
/// The longest detail, in characters.
pub const MAX_DETAIL: usize = 300;

/// The length in bytes from which a run may be a credential. No secret key or token is shorter.
const MIN_RUN: usize = 12;
/// The longest word of one case, in bytes: `amazonec2containerregistry`, `AUTHORIZATION`.
const MAX_LOWER: usize = 30;
const MAX_UPPER: usize = 15;
/// The longest number: nanoseconds since the epoch.
const MAX_NUMBER: usize = 20;
/// The longest word of several, such as `AmazonEC2ContainerRegistryPullOnly`.
const MAX_HUMPS: usize = 60;

/// The names of values that are never shown, whatever they look like: lower case, without `-` and `_`.
const SECRET_NAMES: [&str; 17] = [
    "authorization",
    "authorizationtoken",
    "authtoken",
    "awssecretaccesskey",
    "awssessiontoken",
    "clientkeydata",
    "credential",
    "password",
    "proxyauthorization",
    "secretaccesskey",
    "secretkey",
    "sessiontoken",
    "signature",
    "token",
    "webidentitytoken",
    "xamzsecuritytoken",
    "xawsec2metadatatoken",
];

/// A text on one line, without bodies of answers and without credentials, of at most [`MAX_DETAIL`]
/// characters.
pub fn detail(text: &str) -> String {
    let (prose, has_body) = match body(text) {
        Some(at) => (text.get(..at).unwrap_or_default(), true),
        None => (text, false),
    };
    let mut scrubbed = scrub(prose);
    if has_body {
        scrubbed.push(' ');
        scrubbed.push_str(REMOVED);
    }
    let words: Vec<&str> = scrubbed.split_whitespace().collect();
    words.join(" ").chars().take(MAX_DETAIL).collect()
}

/// The text without credentials.
pub fn scrub(text: &str) -> String {
    // Whole runs first: the rest of a value is too short to tell what it was.
    without_values(&without_runs(&without_passwords(text)))
}

/// The place where a body of JSON, XML or HTML begins.
fn body(text: &str) -> Option<usize> {
    text.char_indices().find_map(|(at, letter)| {
        let rest = text.get(at + letter.len_utf8()..)?;
        let begins = match letter {
            '{' => rest.trim_start().starts_with(['"', '\\']),
            '[' => rest.trim_start().starts_with(['{', '"']),
            '<' => {
                rest.starts_with(|next: char| next.is_ascii_alphabetic() || "!?/".contains(next))
            }
            _ => false,
        };
        begins.then_some(at)
    })
}

/// Removes user and password of each URL.
fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let ends = |letter: char| letter.is_whitespace() || "/\"'<>".contains(letter);
        let authority = after.split(ends).next().unwrap_or_default();
        rest = match authority.rsplit_once('@') {
            Some((user, _)) => {
                out.push_str(REMOVED);
                after.get(user.len()..).unwrap_or_default()
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// Removes the value after each of [`SECRET_NAMES`]: `name=value`, `"name": "value"`,
/// `<name>value</name>`.
fn without_values(text: &str) -> String {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_name) {
        let (before, from_name) = rest.split_at(at);
        out.push_str(before);
        let end = from_name.find(|letter| !is_name(letter));
        let (name, after) = from_name.split_at(end.unwrap_or(from_name.len()));
        out.push_str(name);
        rest = after;
        let plain = name.replace(['-', '_'], "").to_ascii_lowercase();
        if !SECRET_NAMES.contains(&plain.as_str()) {
            continue;
        }
        let Some((assignment, value)) = assigned(after) else {
            continue;
        };
        // `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…` is one value.
        let is_line = plain.ends_with("authorization");
        let ends = |letter: char| match letter {
            '"' | '\'' | '`' | '<' | '\n' | '\\' => true,
            '&' | ',' | ';' | ')' | '}' | ']' => !is_line,
            _ => letter.is_whitespace() && !is_line,
        };
        let end = value.find(ends).unwrap_or(value.len());
        out.push_str(assignment);
        rest = value;
        if end > 0 && !value.starts_with(REMOVED) {
            out.push_str(REMOVED);
            rest = value.split_at(end).1;
        }
    }
    out.push_str(rest);
    out
}

/// What stands between a name and its value, and the rest from the value on.
fn assigned(after: &str) -> Option<(&str, &str)> {
    const FILLING: &str = " \t\"'\\";
    let sign = after.trim_start_matches(|letter| FILLING.contains(letter));
    let value = sign.strip_prefix(['=', ':', '>'])?;
    let value = value.trim_start_matches(|letter| FILLING.contains(letter));
    Some(after.split_at(after.len() - value.len()))
}

/// Removes each run of the characters of credentials that is no name.
fn without_runs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_of_run) {
        let (before, from_run) = rest.split_at(at);
        out.push_str(before);
        let end = from_run.find(|letter| !is_of_run(letter));
        let (run, after) = from_run.split_at(end.unwrap_or(from_run.len()));
        let stays = run.len() < MIN_RUN || is_readable(run);
        out.push_str(if stays { run } else { REMOVED });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The alphabets of base64, base64url and JWT, and what a URL or JSON writes them with.
fn is_of_run(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "+/=_-.%~\\".contains(letter)
}

/// Whether a run consists of names. All of its parts must, because a part of a random text may look
/// like a word.
fn is_readable(run: &str) -> bool {
    let has_plus = || {
        let mut threes = run.as_bytes().windows(3);
        threes.any(|three| {
            matches!(three, [before, b'+', after]
                if before.is_ascii_alphanumeric() && after.is_ascii_alphanumeric())
        })
    };
    let is_mixed = run.bytes().any(|byte| byte.is_ascii_lowercase())
        && run.bytes().any(|byte| byte.is_ascii_uppercase());
    let mut parts = run.split(|letter: char| !letter.is_ascii_alphanumeric());
    !(is_mixed && has_plus()) && parts.all(is_word)
}

fn is_word(part: &str) -> bool {
    let has = |class: fn(&u8) -> bool| part.as_bytes().iter().any(class);
    let (lower, upper) = (has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase));
    let digit = has(u8::is_ascii_digit);
    match (lower, upper, digit) {
        _ if part.len() <= 2 => true,
        (false, false, _) => part.len() <= MAX_NUMBER,
        (true, false, false) => part.len() <= MAX_LOWER,
        (false, true, false) => part.len() <= MAX_UPPER,
        // The suffix that CloudFormation gives a role has 12 or 13 characters; an access key id has 20.
        (false, true, true) => part.len() <= 7 || (12..=13).contains(&part.len()) || is_time(part),
        // The suffixes of a pod's name; the id of an instance or an endpoint, which has 17.
        (true, false, true) => part.len() <= 10 || is_resource_id(part) || is_numbered(part),
        (true, true, _) => is_humps(part),
    }
}

/// `20261130T015745Z`, as in the messages about a wrong clock, or the end of a time with a fraction.
fn is_time(part: &str) -> bool {
    let Some(time) = part.strip_suffix('Z') else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match time.split_once('T') {
        Some((day, hour)) => (day.len(), hour.len()) == (8, 6) && digits(day) && digits(hour),
        None => time.len() <= 9 && digits(time),
    }
}

fn is_resource_id(part: &str) -> bool {
    part.len() == 17 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Letters around one number of at most four digits.
fn is_numbered(part: &str) -> bool {
    let all = part.split(|letter: char| !letter.is_ascii_digit());
    let numbers: Vec<&str> = all.filter(|number| !number.is_empty()).collect();
    part.len() <= MAX_LOWER && matches!(numbers.as_slice(), [number] if number.len() <= 4)
}

/// Words that each begin with a capital, as in `AccessDenied`, with few abbreviations and numbers
/// between them, as in `OpenIDConnect`. A random text has more of these than words.
fn is_humps(part: &str) -> bool {
    if part.len() > MAX_HUMPS {
        return false;
    }
    let most = if part.len() <= 20 { 2 } else { 1 };
    let mut odd = 0;
    let mut rest = part;
    while !rest.is_empty() {
        let is_first = rest.len() == part.len();
        let (upper, after) = split_while(rest, |byte| byte.is_ascii_uppercase());
        let (lower, after) = split_while(after, |byte| byte.is_ascii_lowercase());
        let (digits, after) = split_while(after, |byte| byte.is_ascii_digit());
        if upper > 6 || digits > 3 {
            return false;
        }
        let is_hump = lower >= 2 && (upper == 1 || upper == 0 && is_first);
        if !is_hump || digits > 0 {
            odd += 1;
        }
        rest = after;
    }
    odd <= most
}

/// The number of bytes at the start that are of a kind, and the rest.
fn split_while(text: &str, is_of_kind: impl Fn(u8) -> bool) -> (usize, &str) {
    let count = text.bytes().take_while(|byte| is_of_kind(*byte)).count();
    (count, text.split_at(count).1)
}
