//! CONFIGURATION shows the defaults and the errors of the program as they are.

use ecr_pull_secrets_core::config::Config;

const CONFIGURATION: &str = include_str!("../../docs/CONFIGURATION.md");

/// The two lines that every file has.
const HEAD: &str = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n";

/// The files that CONFIGURATION quotes the errors of, without [`HEAD`].
const REFUSED: [&str; 25] = [
    "rules:\n- acounts: [\"123456789012\"]\n  ambient: {}\n",
    "secret: {name: A_b}\n",
    "secret: {cleanupAfter: 12h}\n",
    "injection: policy\n",
    "scope: {excludedNamespaces: [\"team-*\"]}\n",
    "scope: {excludedNamespaces: }\n",
    "selection: all\n",
    "selection: all-pods\n",
    "rules: [{}]\n",
    "rules: [{accounts: [\"1234\"], ambient: {}}]\n",
    "rules: [{regions: [EU], ambient: {}}]\n",
    "rules:\n- accounts:\n  ambient: {}\n",
    "rules: [{assumeRole: {roleArn: foo}}]\n",
    "rules: [{assumeRole: {roleArn: \"arn:aws:iam::123456789012:role/a\", sessionName: a}}]\n",
    "rules: [{assumeRole: {roleArn: \"arn:aws:iam::123456789012:role/a\", externalId: a}}]\n",
    "rules: [{credentials: {name: China}}]\n",
    "provision: [{registries: [docker.io]}]\n",
    "provision: [{registries: []}]\n",
    "provision: [{selector: a=b, registries: []}]\n",
    "provision: [{selector: , registries: []}]\n",
    "provision: [{selector: {matchLabels: {a b: c}}, registries: [123456789012.dkr.ecr.us-east-1.amazonaws.com]}]\n",
    "provision: [{selector: {matchExpressions: [{key: a, operator: In}]}, registries: [123456789012.dkr.ecr.us-east-1.amazonaws.com]}]\n",
    "provision: [{selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}, registries: [123456789012.dkr.ecr.us-east-1.amazonaws.com]}]\n",
    "endpoints: {eu-central-1: {ecr: foo}}\n",
    "rotation: {maxAge: 6}\n",
];

#[test]
fn quoted_errors_are_those_of_the_program() {
    for body in REFUSED {
        let error = Config::parse(&format!("{HEAD}{body}"))
            .unwrap_err()
            .to_string();
        let line = error.lines().next().unwrap_or_default();
        let text = line.trim_start_matches("error: ");
        assert!(CONFIGURATION.contains(text), "not quoted: {error}");
    }
}

/// The fields of a YAML text, a line each, in order.
fn fields(yaml: &str) -> Vec<&str> {
    let lines = yaml.lines();
    lines
        .map(|line| line.split_once(':').map_or(line, |(field, _)| field))
        .collect()
}

#[test]
fn first_example_shows_the_defaults() {
    let example = CONFIGURATION
        .split("```yaml\n")
        .nth(1)
        .and_then(|text| text.split("```").next())
        .unwrap();
    let printed = Config::default().to_yaml().unwrap();
    let shown = Config::parse(example).unwrap().to_yaml().unwrap();
    assert_eq!(shown, printed);
    // Each of them has every field: one that is not printed has no default to show.
    assert_eq!(fields(example), fields(&printed));
}
