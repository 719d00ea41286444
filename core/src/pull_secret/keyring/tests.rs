//! The answers are the kubelet's: `tests/cluster/keyring` printed them.

use super::*;

const A: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

fn index(key: &str) -> Option<String> {
    let key = key.replace('A', A);
    let index = index_key(&key)?;
    Some(String::from_utf8_lossy(&index).replace(A, "A"))
}

#[test]
fn spellings_of_a_host_are_one_key() {
    for key in [
        "A",
        "https://A",
        "http://A",
        "A/",
        "https://A/",
        "https://A/v1/",
        "https://A/v2/",
        "A/v1/",
        "user@A",
        "https://user:secret@A/",
        "A?x",
        "A/#y",
    ] {
        assert_eq!(index(key).as_deref(), Some("A"), "{key}");
    }
}

#[test]
fn other_keys_stay_different() {
    for (key, wanted) in [
        ("A:443", Some("A:443")),
        ("https://A:443/v2/", Some("A:443")),
        ("A/team", Some("A/team")),
        ("A/v1", Some("A/v1")),
        ("A/v2/team", Some("A/team")),
        ("A/v1/v1/", Some("A/v1/")),
        ("A/v10/", Some("A/v10/")),
        ("A//", Some("A//")),
        ("A/%74eam", Some("A/team")),
        ("A:", Some("A:")),
        ("HTTPS://A", Some("HTTPS://A")),
        ("https://https://A", Some("https://A")),
        ("//A", Some("//A")),
        ("*.example.com", Some("*.example.com")),
        ("%C3%BC.example.com", Some("ü.example.com")),
        ("", Some("")),
        // The kubelet ignores these.
        ("A:x", None),
        ("A:1:2", None),
        ("A ", None),
        ("A\u{7f}", None),
        ("A\\", None),
        ("[A]", None),
        ("A/%zz", None),
        ("A/%7", None),
        ("A%41", None),
        ("A#%", None),
        ("us er@A", None),
    ] {
        assert_eq!(index(key).as_deref(), wanted, "{key}");
    }
}

#[test]
fn key_serves_images_as_in_the_kubelet() {
    let other = A.replace("123456789012", "210987654321");
    let port = format!("{A}:443");
    for (key, image, serves) in [
        ("A", A, true),
        ("A", &other, false),
        ("A", &port, false),
        ("https://A:443", &port, true),
        ("A:443", A, false),
        ("A:", A, true),
        ("A/team", A, true),
        ("A/te", A, true),
        ("A/team/app", A, true),
        ("A/team/app/more", A, false),
        ("A/app", A, false),
        ("*.dkr.ecr.us-east-1.amazonaws.com", A, true),
        ("12*12.dkr.ecr.*.amazonaws.com", A, true),
        ("12**12.dkr.ecr.us*1.amazonaws.com", A, true),
        ("1*3*9*2.dkr.ecr.us-east-1.amazonaws.com", A, true),
        ("1*9*3*2.dkr.ecr.us-east-1.amazonaws.com", A, false),
        (
            "123456789012*123456789012.dkr.ecr.us-east-1.amazonaws.com",
            A,
            false,
        ),
        ("*.amazonaws.com", A, false),
        ("*.*.*.*.*.*", A, true),
        ("12345678901?.dkr.ecr.us-east-1.amazonaws.com", A, false),
        ("A/team%3Fx", A, true),
        ("A%25", A, false),
        ("index.docker.io", A, false),
    ] {
        let key = key.replace('A', A);
        let ring = Keyring::of([&*key].into_iter());
        let found = ring.lookup(&format!("{image}/team/app"));
        assert_eq!(!found.is_empty(), serves, "{key} {image}");
        // A key with a path serves some images of the host only.
        let whole = ring.lookup(&format!("{image}/"));
        let has_path = key.contains("/t");
        assert_eq!(!whole.is_empty(), serves && !has_path, "{key} {image}");
    }
}

#[test]
fn hub_has_a_key_of_its_own() {
    let ring = Keyring::of(["https://index.docker.io/v1/", "docker.io"].into_iter());
    for (name, wanted) in [
        ("docker.io/library/nginx", vec!["docker.io"]),
        (
            "index.docker.io/library/nginx",
            vec!["https://index.docker.io/v1/"],
        ),
        ("library/nginx", vec!["https://index.docker.io/v1/"]),
        ("nginx", vec!["https://index.docker.io/v1/"]),
        ("quay.io/nginx", vec![]),
        ("localhost:80/nginx", vec![]),
        ("/nginx", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(ring.lookup(name), wanted, "{name}");
    }
    let ring = Keyring::of(["index.docker.io"].into_iter());
    assert_eq!(ring.lookup("docker.io/library/nginx"), ["index.docker.io"]);
}

#[test]
fn longer_paths_come_first() {
    let keys = [
        "*.example.com",
        "a.example.com",
        "a.example.com/team/app",
        "a.example.com/team",
    ];
    let found = Keyring::of(keys.into_iter()).lookup("a.example.com/team/app");
    assert_eq!(found, [keys[2], keys[3], keys[1], keys[0]]);
}
