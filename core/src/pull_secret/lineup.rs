//! The order in which the work on one Secret, and a run of `sync`, asks for tokens: what a tenant may
//! have invented waits behind what has worked, or is in AWS's documentation or the configuration.

use std::collections::BTreeMap;

use crate::config::{Config, RegionEvidence};
use crate::identity::{Access, TokenKey};
use crate::image::Registry;

/// The keys for which one Secret's work asks AWS at a time.
const MAX_KEYS_UNDER_WAY: usize = 8;
/// Those of them that may be inventions.
const MAX_DOUBTFUL_UNDER_WAY: usize = 6;

/// What promises that AWS gives a token for a key. The most promising comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prospect {
    /// A token that is there.
    Held,
    /// A region that AWS documents or the configuration names.
    Named,
    /// Nothing.
    Doubtful,
}

impl Prospect {
    /// The prospect of a key; `is_held` says whether the process has a token of it.
    pub fn of(key: &TokenKey, is_held: bool, config: &Config) -> Self {
        if is_held {
            Self::Held
        } else {
            match config.evidence(&key.region) {
                RegionEvidence::Configuration | RegionEvidence::Documents => Self::Named,
                RegionEvidence::Nothing => Self::Doubtful,
            }
        }
    }
}

/// A token to ask for, and the registries that it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// What the token is for.
    pub key: TokenKey,
    /// The registries of the Secret that want it.
    pub registries: Vec<Registry>,
    prospect: Prospect,
}

/// How many keys AWS is asked for.
#[derive(Debug, Default)]
pub struct Lineup {
    under_way: usize,
    doubtful: usize,
}

impl Lineup {
    /// The tokens to ask for now, of all those that are due. The caller reports the end of each.
    pub fn start(
        &mut self,
        due: Vec<Access>,
        prospect: impl Fn(&TokenKey) -> Prospect,
    ) -> Vec<Errand> {
        let mut by_key: BTreeMap<TokenKey, Vec<Registry>> = BTreeMap::new();
        for access in due {
            let registries = by_key.entry(access.token_key()).or_default();
            registries.push(access.registry);
        }
        let errands = by_key.into_iter().map(|(key, registries)| Errand {
            prospect: prospect(&key),
            key,
            registries,
        });
        let mut errands: Vec<_> = errands.collect();
        errands.sort_by_key(|errand| errand.prospect);
        errands.retain(|errand| self.takes(errand.prospect));
        errands
    }

    fn takes(&mut self, prospect: Prospect) -> bool {
        let is_doubtful = prospect == Prospect::Doubtful;
        let has_room = self.under_way < MAX_KEYS_UNDER_WAY
            && !(is_doubtful && self.doubtful >= MAX_DOUBTFUL_UNDER_WAY);
        if has_room {
            self.under_way = self.under_way.saturating_add(1);
            self.doubtful = self.doubtful.saturating_add(is_doubtful.into());
        }
        has_room
    }

    /// A token arrived, or there is none.
    pub fn end(&mut self, errand: &Errand) {
        let is_doubtful = errand.prospect == Prospect::Doubtful;
        self.under_way = self.under_way.saturating_sub(1);
        self.doubtful = self.doubtful.saturating_sub(is_doubtful.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn due(regions: &[&str]) -> Vec<Access> {
        let hosts = regions
            .iter()
            .map(|region| format!("123456789012.dkr.ecr.{region}.amazonaws.com"));
        hosts
            .map(|host| Access {
                registry: Registry::of_host(&host).unwrap(),
                identity: Identity::Ambient,
            })
            .collect()
    }

    fn inventions() -> Vec<Access> {
        let regions: Vec<_> = (1..=9).map(|number| format!("af-mars-{number}")).collect();
        let regions: Vec<_> = regions.iter().map(String::as_str).collect();
        due(&regions)
    }

    /// Only the region `eu-west-1` has a token.
    fn prospect(key: &TokenKey) -> Prospect {
        Prospect::of(key, &*key.region == "eu-west-1", &Config::default())
    }

    fn regions(errands: &[Errand]) -> Vec<&str> {
        errands.iter().map(|errand| &*errand.key.region).collect()
    }

    #[test]
    fn invented_region_waits_behind_all_others() {
        let wanted = [inventions(), due(&["us-east-1", "eu-west-1"])].concat();
        let errands = Lineup::default().start(wanted, prospect);
        let first = ["eu-west-1", "us-east-1", "af-mars-1"];
        assert_eq!(regions(&errands)[..3], first);
        assert_eq!(errands.len(), MAX_KEYS_UNDER_WAY);
    }

    #[test]
    fn inventions_leave_room_for_a_late_registry() {
        let mut lineup = Lineup::default();
        let errands = lineup.start(inventions(), prospect);
        assert_eq!(errands.len(), MAX_DOUBTFUL_UNDER_WAY);
        let late = lineup.start(due(&["af-mars-9", "us-east-1"]), prospect);
        assert_eq!(regions(&late), ["us-east-1"]);
        assert!(lineup.start(due(&["af-mars-9"]), prospect).is_empty());
        lineup.end(&errands[0]);
        assert_eq!(lineup.start(due(&["af-mars-9"]), prospect).len(), 1);
    }

    #[test]
    fn configured_region_is_no_invention() {
        let config = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n\
                      rules: [{ regions: [af-mars-1], ambient: {} }]\n";
        let config = Config::parse(config).unwrap();
        let of = |region| Prospect::of(&due(&[region])[0].token_key(), false, &config);
        assert_eq!(of("af-mars-1"), Prospect::Named);
        assert_eq!(of("af-mars-2"), Prospect::Doubtful);
    }

    #[test]
    fn one_token_opens_all_registries_of_its_key() {
        let mut wanted = due(&["us-east-1", "us-east-1"]);
        wanted[1].registry =
            Registry::of_host("210987654321.dkr.ecr.us-east-1.amazonaws.com").unwrap();
        let errands = Lineup::default().start(wanted, prospect);
        assert_eq!(errands.len(), 1);
        assert_eq!(errands[0].registries.len(), 2);
    }
}
