//! Which token an entry of a Secret holds on to, and which takes its place.
//!
//! The identity that the rules name wins; of two tokens of that identity, the later expiry. A replica
//! whose configuration is older than an entry of another identity takes it for one of newer rules,
//! and leaves it while it works: so the replicas of a roll-out do not rewrite each other.

use std::cmp::Ordering;

use jiff::Timestamp;

use crate::identity::IdentityMark;
use crate::token::Token;
use crate::token::lifetime::Lifetime;

impl Lifetime {
    /// Whether a token replaces one with this lifetime: the later expiry wins, unless it is
    /// implausible. The time of minting plays no part: for a replica whose clock is slow, every new
    /// token comes from the future.
    pub fn yields_to(self, token: &Token, now: Timestamp) -> bool {
        match self.expires_at.cmp(&token.expires_at) {
            Ordering::Less => true,
            Ordering::Equal => false,
            Ordering::Greater => !self.is_plausible(now),
        }
    }
}

/// The token of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incumbent {
    /// Its lifetime, as the Secret states it.
    pub lifetime: Lifetime,
    /// The identity that minted it.
    pub identity: IdentityMark,
}

/// A token that may take the place of an entry's.
#[derive(Clone, Copy, Debug)]
pub struct Successor<'a> {
    /// The identity that minted it: the one that the rules name.
    pub identity: IdentityMark,
    /// The token.
    pub token: &'a Token,
    /// When these rules were loaded.
    pub since: Timestamp,
    /// The time of the decision.
    pub now: Timestamp,
}

impl Incumbent {
    /// Whether rules in force since then name another identity.
    pub fn is_outdated(self, identity: IdentityMark, since: Timestamp) -> bool {
        self.identity != identity && self.lifetime.minted_at < since
    }

    /// Whether the other token is better.
    pub fn is_below(self, other: Successor<'_>) -> bool {
        if self.identity == other.identity {
            self.lifetime.yields_to(other.token, other.now)
        } else {
            self.is_outdated(other.identity, other.since) || !self.lifetime.serves(other.now)
        }
    }

    /// Whether the other token may replace it: it is better, or expires together with it.
    pub fn gives_way_to(self, other: Successor<'_>) -> bool {
        let expires_together = self.lifetime.expires_at == other.token.expires_at;
        (self.identity == other.identity && expires_together) || self.is_below(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn incumbent(identity: &str, minted_at: i64) -> Incumbent {
        Incumbent {
            lifetime: Lifetime {
                minted_at: at(minted_at),
                expires_at: at(minted_at + 1000),
            },
            identity: IdentityMark::of(identity),
        }
    }

    fn token(minted_at: i64) -> Token {
        let text = aws_token_text();
        Token::new(text, at(minted_at), Some(at(minted_at + 1000))).unwrap()
    }

    fn successor(identity: IdentityMark, token: &Token, since: i64, now: i64) -> Successor<'_> {
        Successor {
            identity,
            token,
            since: at(since),
            now: at(now),
        }
    }

    /// `AWS:password` as AWS encodes it.
    fn aws_token_text() -> String {
        "QVdTOnBhc3N3b3Jk".to_owned()
    }

    #[test]
    fn identity_of_the_rules_wins_at_once() {
        let (old, new) = (incumbent("old", 100), IdentityMark::of("new"));
        // Its token may even expire sooner.
        for minted_at in [50, 100, 150] {
            assert!(old.is_below(successor(new, &token(minted_at), 101, 200)));
        }
        assert!(old.is_outdated(new, at(101)));
    }

    #[test]
    fn older_rules_leave_an_entry_of_newer_ones() {
        let (new, old) = (incumbent("new", 100), IdentityMark::of("old"));
        let later = token(150);
        assert!(!new.is_outdated(old, at(100)));
        assert!(!new.gives_way_to(successor(old, &later, 100, 200)));
        // It has less than a tenth of its lifetime left, and the pods come first.
        assert!(new.gives_way_to(successor(old, &later, 100, 1001)));
    }

    #[test]
    fn later_expiry_wins_within_one_identity() {
        let (entry, same) = (incumbent("same", 100), IdentityMark::of("same"));
        assert!(entry.is_below(successor(same, &token(101), 0, 200)));
        assert!(!entry.is_below(successor(same, &token(100), 0, 200)));
        assert!(entry.gives_way_to(successor(same, &token(100), 0, 200)));
        assert!(!entry.gives_way_to(successor(same, &token(99), 500, 200)));
    }
}
