//! Other spellings of a host that gets a token.

use super::*;

/// A dead token under another spelling would be tried as often as ours.
#[test]
fn alias_of_a_granted_host_goes_with_the_merge() {
    let old = json!({ "auths": {
        format!("https://{}", host(0)): { "auth": auth("dead") },
        format!("{}/", host(0)): { "auth": auth("dead") },
        format!("https://{}", host(1)): { "auth": auth("other") },
        "https://ghcr.io": { "auth": auth("x") },
    }});
    let old = DockerConfig::parse(old.to_string().as_bytes()).unwrap();
    let merged = merge(
        old,
        Described::default(),
        &[grant(0, "new", 0, 12)],
        Timestamp::MIN,
        NOW,
    );
    let alias = format!("https://{}", host(1));
    assert!(
        config(&merged)
            .hosts()
            .eq([&*host(0), &alias, "https://ghcr.io"])
    );
    // An entry that stays has no alias beside it either.
    let mut again = config(&merged);
    again.set_auth(&format!("http://{}", host(0)), &auth("dead"));
    let kept = merge(again, merged.content.described, &[], Timestamp::MIN, NOW);
    assert!(
        config(&kept)
            .hosts()
            .eq([&*host(0), &alias, "https://ghcr.io"])
    );
}
