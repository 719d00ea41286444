//! STS: sessions for workloads with an issuer that a role trusts.

use serde_json::json;

use crate::{
    sts::{SESSION, identity, world_with},
    support::{Answer, Caller, ROLE, SUBJECT, World, form, now, role, send, web_identity_token},
};

/// Sends an unsigned call with a web identity.
pub(crate) async fn exchange(world: &World, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
    ];
    fields.extend_from_slice(&[
        ("RoleArn", ROLE),
        ("RoleSessionName", "session"),
        ("WebIdentityToken", token),
    ]);
    fields.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    fields.extend_from_slice(more);
    let request = http::Request::post(world.region.endpoint())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form(&fields).into())
        .unwrap();
    send(request).await
}

#[tokio::test]
async fn web_identity_gets_a_session_of_its_role() {
    let world = world_with(role()).await;
    let token = web_identity_token(&json!({}));
    let answer = exchange(&world, &token, &[]).await;
    let session = Caller::session(&answer);
    assert_eq!(answer.xml("SubjectFromWebIdentityToken"), SUBJECT);
    assert_eq!(
        answer.xml("Provider"),
        "arn:aws:iam::210987654321:oidc-provider/issuer.example.com"
    );
    assert_eq!(identity(&world, &session).await.xml("Arn"), SESSION);

    let calls = world.region.calls().await.unwrap();
    assert!(
        calls
            .iter()
            .any(|count| count.principal == ROLE && count.action == "AssumeRoleWithWebIdentity")
    );
    let secrets = world.client.secrets().await.unwrap();
    assert_eq!(secrets.web_identity_tokens, [token]);
    assert_eq!(secrets.session_tokens, [session.session_token.unwrap()]);
}

#[tokio::test]
async fn invalid_web_identity_is_refused() {
    let world = world_with(role()).await;
    let past = now().as_second() - 1;
    for (changes, code) in [
        (
            json!({"aud": "https://kubernetes.default.svc"}),
            "InvalidIdentityToken",
        ),
        (json!({"exp": past}), "ExpiredTokenException"),
        (
            json!({"iss": "https://unknown.example.com"}),
            "InvalidIdentityToken",
        ),
        (
            json!({"sub": "system:serviceaccount:other:account"}),
            "AccessDenied",
        ),
        (json!({"sub": null}), "InvalidIdentityToken"),
    ] {
        let answer = exchange(&world, &web_identity_token(&changes), &[]).await;
        assert_eq!(answer.sts_error().1, code, "{changes}");
    }
    let good = web_identity_token(&json!({}));
    let unsigned = good.rsplit_once('.').unwrap().0;
    for bad in ["abcd", "a.b.c", unsigned, &format!("{unsigned}.")] {
        assert_eq!(
            exchange(&world, bad, &[]).await.sts_error().1,
            "InvalidIdentityToken",
            "{bad}"
        );
    }
    let other_role = [("RoleArn", "arn:aws:iam::210987654321:role/unknown")];
    let answer = exchange(&world, &good, &other_role).await;
    assert_eq!(
        answer.sts_error(),
        (
            403,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity"
        )
    );
    assert!(
        exchange(&world, &good, &[("DurationSeconds", "7201")])
            .await
            .text()
            .contains("MaxSessionDuration")
    );
    assert!(
        exchange(
            &world,
            &web_identity_token(&json!({"iss": "https://unknown.example.com"})),
            &[]
        )
        .await
        .xml("Message")
        .starts_with("No OpenIDConnect provider found in your account for https://unknown")
    );
    assert_eq!(
        exchange(
            &world,
            &web_identity_token(&json!({"aud": "sts.amazonaws.com"})),
            &[]
        )
        .await
        .status,
        200
    );
}
