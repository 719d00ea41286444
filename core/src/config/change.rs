//! What a new configuration changes in a running process, and what waits for a restart.

use super::Config;

/// A new configuration, as the process can take it over.
#[derive(Debug)]
pub struct Succession {
    /// The configuration that comes into force.
    pub config: Config,
    /// The fields whose new value waits for a restart: the old value stays in force.
    pub waiting: Vec<&'static str>,
}

impl Config {
    /// What comes into force when a process with this configuration reads `next`. RBAC, guards and
    /// watches know the pull Secret by its name, the port of the webhook is there from the start or
    /// not at all, and an installation renders all of them at once: so `secret.name` and `injection`
    /// wait until the pods of the new rendering start.
    pub fn succeeded_by(&self, mut next: Self) -> Succession {
        let mut waiting = Vec::new();
        if next.injection != self.injection {
            waiting.push("injection");
            next.injection = self.injection;
            next.file.injection = self.injection;
        }
        if next.secret.name != self.secret.name {
            waiting.push("secret.name");
            next.secret.name.clone_from(&self.secret.name);
            next.file.secret.name.clone_from(&self.secret.name);
        }
        next.scope
            .own_namespace
            .clone_from(&self.scope.own_namespace);
        Succession {
            config: next,
            waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Config {
        let head = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n";
        Config::parse(&format!("{head}{fields}")).unwrap()
    }

    #[test]
    fn name_of_the_secret_waits_for_a_restart() {
        let old = parse("secret: {name: old}\n").installed_in("ours");
        let next = parse("secret: {name: new, adopt: all}\nselection: opt-in\n");
        let Succession { config, waiting } = old.succeeded_by(next);
        assert_eq!(waiting, ["secret.name"]);
        assert_eq!(config.secret.name, "old");
        let expected = parse("secret: {name: old, adopt: all}\nselection: opt-in\n");
        assert_eq!(config.to_yaml().unwrap(), expected.to_yaml().unwrap());
        assert!(config.scope.is_ours("ours"));
    }

    #[test]
    fn injection_waits_for_a_restart() {
        let old = Config::default();
        let next = parse("injection: none\nselection: opt-in\n");
        let Succession { config, waiting } = old.succeeded_by(next);
        assert_eq!(waiting, ["injection"]);
        let expected = parse("selection: opt-in\n");
        assert_eq!(config.to_yaml().unwrap(), expected.to_yaml().unwrap());
    }

    #[test]
    fn other_fields_change_at_once() {
        let old = Config::default();
        let next = parse("rules: [{deny: {}}]\nrotation: {maxAge: 1h}\n");
        let yaml = next.to_yaml().unwrap();
        let Succession { config, waiting } = old.succeeded_by(next);
        assert!(waiting.is_empty());
        assert_eq!(config.to_yaml().unwrap(), yaml);
    }
}
