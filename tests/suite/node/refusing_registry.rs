//! A registry that answers each repository in its own way, for the texts of failed pulls.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::images::{ARCHITECTURE, digest};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The request that fails.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Manifest,
    Layer,
    /// Where the registry redirects for a layer.
    Storage,
    /// Nothing: the image itself is at fault.
    Never,
}

/// How the registry answers the repository NAME.
pub struct Scenario {
    /// Name of the repository, and of the row in the table.
    pub name: &'static str,
    at: At,
    status: u16,
    /// Code and message of the registry's answer, or a body that is not JSON.
    body: Result<(&'static str, &'static str), &'static str>,
}

const fn says(
    name: &'static str,
    at: At,
    status: u16,
    code: &'static str,
    text: &'static str,
) -> Scenario {
    Scenario {
        name,
        at,
        status,
        body: Ok((code, text)),
    }
}

const fn bare(name: &'static str, at: At, status: u16, body: &'static str) -> Scenario {
    Scenario {
        name,
        at,
        status,
        body: Err(body),
    }
}

/// What the repositories answer.
pub const SCENARIOS: &[Scenario] = &[
    bare("no-login", At::Manifest, 401, ""),
    bare("login-401", At::Manifest, 401, ""),
    bare("403", At::Manifest, 403, ""),
    bare("403-html", At::Manifest, 403, "<html>Blocked</html>"),
    bare("400", At::Manifest, 400, ""),
    bare("404", At::Manifest, 404, ""),
    bare("407", At::Manifest, 407, ""),
    bare("429", At::Manifest, 429, ""),
    bare("500", At::Manifest, 500, ""),
    bare("502", At::Manifest, 502, ""),
    bare("503", At::Manifest, 503, ""),
    bare("504", At::Manifest, 504, ""),
    bare("reset", At::Manifest, 0, ""),
    says(
        "expired",
        At::Manifest,
        403,
        "DENIED",
        "Your authorization token has expired. Reauthenticate and try again.",
    ),
    says("denied", At::Manifest, 403, "DENIED", "Not Authorized"),
    says(
        "denied-default",
        At::Manifest,
        403,
        "DENIED",
        "requested access to the resource is denied",
    ),
    says(
        "identity-policy",
        At::Manifest,
        403,
        "DENIED",
        "User: arn:aws:sts::123456789012:assumed-role/pull/i is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:123456789012:repository/team/app because no identity-based policy allows the ecr:BatchGetImage action",
    ),
    says(
        "repository-policy",
        At::Manifest,
        403,
        "DENIED",
        "User: arn:aws:sts::123456789012:assumed-role/pull/i is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:210987654321:repository/team/app because no resource-based policy allows the ecr:BatchGetImage action",
    ),
    says(
        "control-policy",
        At::Manifest,
        403,
        "DENIED",
        "User: arn:aws:sts::123456789012:assumed-role/pull/i is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:123456789012:repository/team/app with an explicit deny in a service control policy",
    ),
    says(
        "endpoint-policy",
        At::Manifest,
        403,
        "DENIED",
        "User: arn:aws:sts::123456789012:assumed-role/pull/i is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:123456789012:repository/team/app because no VPC endpoint policy allows the ecr:BatchGetImage action",
    ),
    says(
        "import",
        At::Manifest,
        403,
        "DENIED",
        "User: arn:aws:sts::123456789012:assumed-role/pull/i is not authorized to perform: ecr:BatchImportUpstreamImage on resource: arn:aws:ecr:us-east-1:123456789012:repository/hub/library/nginx because no identity-based policy allows the ecr:BatchImportUpstreamImage action",
    ),
    says(
        "create-repository",
        At::Manifest,
        403,
        "DENIED",
        "User: arn:aws:sts::123456789012:assumed-role/pull/i is not authorized to perform: ecr:CreateRepository on resource: arn:aws:ecr:us-east-1:123456789012:repository/hub/library/nginx because no identity-based policy allows the ecr:CreateRepository action",
    ),
    says(
        "layer-denied",
        At::Layer,
        403,
        "DENIED",
        "User: arn:aws:sts::123456789012:assumed-role/pull/i is not authorized to perform: ecr:GetDownloadUrlForLayer on resource: arn:aws:ecr:us-east-1:123456789012:repository/team/app because no identity-based policy allows the ecr:GetDownloadUrlForLayer action",
    ),
    says(
        "layer-expired",
        At::Layer,
        403,
        "DENIED",
        "Your authorization token has expired. Reauthenticate and try again.",
    ),
    bare(
        "layer-403",
        At::Layer,
        403,
        "<Error><Code>AccessDenied</Code></Error>",
    ),
    bare("layer-404", At::Layer, 404, ""),
    bare("layer-407", At::Layer, 407, ""),
    bare("layer-503", At::Layer, 503, ""),
    bare(
        "storage-403",
        At::Storage,
        403,
        "<Error><Code>AccessDenied</Code></Error>",
    ),
    bare(
        "storage-400",
        At::Storage,
        400,
        "<Error><Code>ExpiredToken</Code></Error>",
    ),
    bare(
        "storage-503",
        At::Storage,
        503,
        "<Error><Code>SlowDown</Code></Error>",
    ),
    bare("platform", At::Never, 200, ""),
    bare("never-pull", At::Never, 200, ""),
];

/// Answers each connection once.
pub async fn serve(listener: TcpListener, port: u16) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        tokio::spawn(answer(stream, port));
    }
}

async fn answer(mut stream: TcpStream, port: u16) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(read @ 1..) => request.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let mut words = request.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let has_login = request.contains("\r\nauthorization: ");
    let Some(response) = respond(path, has_login, port) else {
        return;
    };
    let (head, body) = response;
    let _ = stream.write_all(head.as_bytes()).await;
    if method == "get" {
        let _ = stream.write_all(&body).await;
    }
    let _ = stream.shutdown().await;
}

/// Head and body of an answer; `None` closes the connection.
fn respond(path: &str, has_login: bool, port: u16) -> Option<(String, Vec<u8>)> {
    let parts: Vec<&str> = path
        .split('?')
        .next()?
        .trim_matches('/')
        .split('/')
        .collect();
    let (at, name) = match parts.as_slice() {
        ["v2", name, "manifests", _] => (At::Manifest, *name),
        ["v2", name, "blobs", _] => (At::Layer, *name),
        ["storage", name] => (At::Storage, *name),
        _ => return Some(http(200, "", b"{}".to_vec())),
    };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name)?;
    if !has_login && at != At::Storage || name == "login-401" {
        let challenge =
            "WWW-Authenticate: Basic realm=\"https://registry/\",service=\"ecr.amazonaws.com\"\r\n";
        return Some(http(401, challenge, b"Not Authorized\n".to_vec()));
    }
    if at == scenario.at {
        if scenario.status == 0 {
            return None;
        }
        return Some(match scenario.body {
            Ok((code, text)) => {
                let body = json!({ "errors": [{ "code": code, "message": text }] });
                http(
                    scenario.status,
                    "Content-Type: application/json\r\n",
                    body.to_string().into(),
                )
            }
            Err(body) => http(scenario.status, "", body.into()),
        });
    }
    Some(match at {
        At::Manifest => manifest(name, parts.last()?),
        At::Layer if scenario.at == At::Storage => {
            let to = format!("Location: http://127.0.0.1:{port}/storage/{name}\r\n");
            http(307, &to, Vec::new())
        }
        _ => http(404, "", Vec::new()),
    })
}

/// An image of one config and one layer, or an index without this machine's platform.
fn manifest(name: &str, reference: &str) -> (String, Vec<u8>) {
    let descriptor = |media_type: &str, content: &[u8]| json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", name.as_bytes()),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", format!("layer {name}").as_bytes())],
    });
    let other = if ARCHITECTURE == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let mut of_platform: Value = descriptor(MANIFEST, manifest.to_string().as_bytes());
    of_platform["platform"] = json!({ "os": "linux", "architecture": other });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [of_platform] });
    let is_index =
        name == "platform" && !reference.starts_with(&digest(manifest.to_string().as_bytes()));
    let (media_type, body) = if is_index {
        (INDEX, index)
    } else {
        (MANIFEST, manifest)
    };
    let body = body.to_string().into_bytes();
    let headers = format!(
        "Content-Type: {media_type}\r\nDocker-Content-Digest: {}\r\n",
        digest(&body)
    );
    http(200, &headers, body)
}

fn http(status: u16, headers: &str, body: Vec<u8>) -> (String, Vec<u8>) {
    let reason = hyper::StatusCode::from_u16(status).ok();
    let reason = reason
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    );
    (head, body)
}
