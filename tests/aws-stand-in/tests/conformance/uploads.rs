//! Images that a test uploads.

use aws_stand_in::spec::Verdict;
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{Caller, world};

const HOST: &str = "123456789012.dkr.ecr.test-land-1.amazonaws.com";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn hash(bytes: &str) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn archive(files: &[(String, String)]) -> Bytes {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().into()
}

/// An OCI image layout with these manifests, each under a name.
fn layout(manifests: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut files = vec![(
        "oci-layout".to_owned(),
        r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned(),
    )];
    let descriptors: Vec<_> = manifests
        .iter()
        .map(|(name, manifest)| {
            files.push((
                format!("blobs/sha256/{}", hash(manifest)),
                (*manifest).to_owned(),
            ));
            json!({
                "mediaType": MANIFEST,
                "digest": format!("sha256:{}", hash(manifest)),
                "size": manifest.len(),
                "annotations": {"org.opencontainers.image.ref.name": name},
            })
        })
        .collect();
    files.push((
        "index.json".to_owned(),
        json!({"schemaVersion": 2, "manifests": descriptors}).to_string(),
    ));
    files
}

#[tokio::test]
async fn uploaded_image_replaces_all_other_tags() {
    let world = world().await;
    let data = Caller::default().mint(&world).await.authorization();
    let auth = data["authorizationToken"].as_str().unwrap();
    let digest = world
        .client
        .upload("team/app", "v1", archive(&layout(&[("x", "{}")])))
        .await
        .unwrap();
    assert_eq!(digest, format!("sha256:{}", hash("{}")));
    let open = async |tag: &str| {
        world
            .client
            .registry_get(HOST, "team/app", tag, auth)
            .await
            .unwrap()
    };
    assert_eq!(open("v1").await.body, "{}");
    assert_eq!(open(&digest).await.body, "{}");
    assert_eq!(open("v2").await.verdict, Verdict::ManifestUnknown);

    world
        .client
        .upload("team/app", "v2", archive(&layout(&[("x", "{ }")])))
        .await
        .unwrap();
    assert_eq!(
        (open("v1").await.body, open("v2").await.body),
        ("{}".into(), "{ }".into())
    );
}

#[tokio::test]
async fn tag_selects_its_named_image_or_the_index() {
    let world = world().await;
    let data = Caller::default().mint(&world).await.authorization();
    let auth = data["authorizationToken"].as_str().unwrap();
    let several = archive(&layout(&[("v1", "{}"), ("v2", "{ }")]));
    world
        .client
        .upload("app", "v2", several.clone())
        .await
        .unwrap();
    world.client.upload("app", "both", several).await.unwrap();
    let open = async |tag: &str| {
        world
            .client
            .registry_get(HOST, "app", tag, auth)
            .await
            .unwrap()
            .body
    };
    assert_eq!(open("v2").await, "{ }");
    assert!(String::from_utf8_lossy(&open("both").await).contains("manifests"));
}

#[tokio::test]
async fn invalid_layout_is_refused_with_the_reason() {
    let world = world().await;
    let refusal = async |files: &[(String, String)]| {
        world
            .client
            .upload("app", "v1", archive(files))
            .await
            .unwrap_err()
            .to_string()
    };
    let good = layout(&[("x", "{}")]);
    assert!(refusal(&good[1..]).await.contains("no oci-layout"));
    assert!(refusal(&good[..2]).await.contains("no index.json"));
    assert!(
        refusal(&[good[0].clone(), good[2].clone()])
            .await
            .contains(&hash("{}"))
    );
    let mut forged = good.clone();
    forged[1].1 = "{forged}".to_owned();
    assert!(refusal(&forged).await.contains("has another digest"));
    assert!(refusal(&layout(&[])).await.contains("names no manifest"));
}
