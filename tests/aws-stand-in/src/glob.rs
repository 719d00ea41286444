//! IAM's globs: `*` matches any text, `?` matches one character.

/// Whether the pattern matches the whole text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text.as_bytes();
    let mut pattern = pattern.as_bytes();
    // Where to resume when the text after the last `*` does not match.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.first(), rest.first()) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                pattern = &pattern[1..];
                retry = Some((pattern, rest));
            }
            (Some(&expected), Some(&found)) if expected == b'?' || expected == found => {
                pattern = &pattern[1..];
                rest = &rest[1..];
            }
            _ => match retry {
                Some((after_star, from)) if !from.is_empty() => {
                    pattern = after_star;
                    rest = &from[1..];
                    retry = Some((after_star, rest));
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn star_matches_text_and_question_mark_one_character() {
        for (pattern, text) in [
            ("*", ""),
            ("a*c", "abbc"),
            ("*/team-a/*", "123456789012/team-a/app"),
            ("a?c", "abc"),
            ("*ab", "aab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a?c", "ac"),
            ("a*c", "ab"),
            ("abc", "abcd"),
            ("*b", ""),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
