//! Reads of a repository with a valid credential.

use aws_stand_in::spec::{Action, Fault, Verdict};
use bytes::Bytes;
use http::{Method, Request, request::Builder};
use http_body_util::Full;
use sha2::{Digest, Sha256};

use crate::support::{Answer, Caller, World, send, world};

pub(crate) const HOST: &str = "123456789012.dkr.ecr.test-land-1.amazonaws.com";

pub(crate) async fn auth(world: &World, caller: &Caller) -> String {
    let data = caller.mint(world).await.authorization();
    data["authorizationToken"].as_str().unwrap().to_owned()
}

fn request(world: &World, method: Method, path: &str, auth: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(format!("{}{path}", world.client.url()))
        .header("host", HOST)
        .header("authorization", format!("Basic {auth}"))
}

pub(crate) async fn get(world: &World, path: &str, auth: &str) -> Answer {
    send(
        request(world, Method::GET, path, auth)
            .body(Full::default())
            .unwrap(),
    )
    .await
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!(
        "sha256:{}",
        hash.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    )
}

#[tokio::test]
async fn image_is_pulled_with_all_its_blobs() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    assert_eq!(get(&world, "/v2/", &auth).await.status, 200);
    let by_tag = get(&world, "/v2/team/app/manifests/v1", &auth).await;
    assert_eq!(
        by_tag.headers["content-type"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    let manifest_digest = by_tag.headers["docker-content-digest"].to_str().unwrap();
    assert_eq!(manifest_digest, digest(&by_tag.body));
    let by_digest = get(
        &world,
        &format!("/v2/team/app/manifests/{manifest_digest}"),
        &auth,
    )
    .await;
    assert_eq!(by_digest.body, by_tag.body);

    let manifest = by_tag.json();
    for descriptor in [&manifest["config"], &manifest["layers"][0]] {
        let name = descriptor["digest"].as_str().unwrap();
        let blob = get(&world, &format!("/v2/team/app/blobs/{name}"), &auth).await;
        assert_eq!(digest(&blob.body), name);
        assert_eq!(blob.body.len() as u64, descriptor["size"].as_u64().unwrap());
    }
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = get(&world, &format!("/v2/team/app/blobs/{config}"), &auth)
        .await
        .json();
    assert_eq!(
        config["rootfs"]["diff_ids"][0],
        manifest["layers"][0]["digest"]
    );

    // Another repository holds another image, without the blobs of this one.
    let other = get(
        &world,
        &format!("/v2/other/manifests/{manifest_digest}"),
        &auth,
    )
    .await;
    assert_eq!(other.headers["x-stand-in-verdict"], "manifest_unknown");
    let other = get(&world, &format!("/v2/other/blobs/{manifest_digest}"), &auth).await;
    assert_eq!(other.headers["x-stand-in-verdict"], "blob_unknown");
}

#[tokio::test]
async fn head_matches_get_and_range_returns_a_part() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    let manifest = get(&world, "/v2/app/manifests/latest", &auth).await;
    let head = request(&world, Method::HEAD, "/v2/app/manifests/latest", &auth);
    let head = send(head.body(Full::default()).unwrap()).await;
    for name in ["content-type", "content-length", "docker-content-digest"] {
        assert_eq!(head.headers[name], manifest.headers[name], "{name}");
    }
    assert!(head.body.is_empty());

    let layer = manifest.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/v2/app/blobs/{layer}");
    let whole = get(&world, &path, &auth).await.body;
    let ranged = async |range: &str| {
        let request = request(&world, Method::GET, &path, &auth).header("range", range);
        send(request.body(Full::<Bytes>::default()).unwrap()).await
    };
    let part = ranged("bytes=2-5").await;
    assert_eq!(
        (part.status.as_u16(), &part.body),
        (206, &whole.slice(2..6))
    );
    assert_eq!(
        part.headers["content-range"],
        format!("bytes 2-5/{}", whole.len()).as_str()
    );
    assert_eq!(ranged("bytes=10-").await.body, whole.slice(10..));
    assert_eq!(
        ranged("bytes=-3").await.body,
        whole.slice(whole.len() - 3..)
    );
    assert_eq!(ranged("bytes=999999-").await.status, 416);
    assert_eq!(ranged("lines=1-2").await.status, 200);
}

#[tokio::test]
async fn pulls_are_counted_and_can_fail() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    get(&world, "/v2/app/manifests/latest", &auth).await;
    get(&world, "/v2/app/manifests/latest", &auth).await;
    world
        .region
        .fault_of(Action::Pull, Fault::Throttling)
        .await
        .unwrap();
    let answer = get(&world, "/v2/app/manifests/latest", &auth).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["errors"][0]["code"]),
        (429, &"TOOMANYREQUESTS".into())
    );
    assert_eq!(Caller::default().mint(&world).await.status, 200);

    let pulls = world.region.pulls().await.unwrap();
    let counts: Vec<_> = pulls
        .iter()
        .map(|count| {
            (
                count.repository.as_str(),
                count.object.as_str(),
                count.verdict,
                count.total,
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            ("app", "manifest", Verdict::Accepted, 2),
            ("app", "manifest", Verdict::Faulted, 1)
        ]
    );
}
