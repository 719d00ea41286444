//! What is kept of a pod.

use ecr_pull_secrets_core::sieve::Keep;

use super::parts::{
    IMAGE_BYTES, MESSAGE_BYTES, NAME_BYTES, WORD_BYTES, each, fields, metadata_with, references,
};

pub(super) fn pod(pull_secrets: &[String]) -> Vec<(&'static str, Keep)> {
    let name = || vec![("name", Keep::OneOf(pull_secrets.to_vec()))];
    let value = || fields(vec![("secretKeyRef", fields(name()))]);
    let containers = || {
        each(vec![
            ("image", Keep::Whole(IMAGE_BYTES)),
            ("env", each(vec![("valueFrom", value())])),
            ("envFrom", each(vec![("secretRef", fields(name()))])),
        ])
    };
    let volume = vec![
        (
            "image",
            fields(vec![("reference", Keep::Whole(IMAGE_BYTES))]),
        ),
        (
            "secret",
            fields(vec![("secretName", Keep::OneOf(pull_secrets.to_vec()))]),
        ),
        (
            "projected",
            fields(vec![("sources", each(vec![("secret", fields(name()))]))]),
        ),
    ];
    let spec = vec![
        ("serviceAccountName", Keep::Whole(NAME_BYTES)),
        ("imagePullSecrets", references(pull_secrets)),
        ("containers", containers()),
        ("initContainers", containers()),
        ("ephemeralContainers", containers()),
        ("volumes", each(volume)),
    ];
    let status = vec![
        ("phase", Keep::Whole(WORD_BYTES)),
        ("containerStatuses", container_states()),
        ("initContainerStatuses", container_states()),
        ("ephemeralContainerStatuses", container_states()),
    ];
    let owner = vec![
        ("apiVersion", Keep::Whole(NAME_BYTES)),
        ("kind", Keep::Whole(WORD_BYTES)),
        ("name", Keep::Whole(NAME_BYTES)),
        ("uid", Keep::Whole(WORD_BYTES)),
        ("controller", Keep::Whole(WORD_BYTES)),
    ];
    vec![
        (
            "metadata",
            metadata_with(
                vec![("ecr-pull-secrets.dev/inject", Keep::Whole(WORD_BYTES))],
                vec![("kubernetes.io/config.mirror", Keep::Presence)],
                vec![("ownerReferences", each(owner))],
            ),
        ),
        ("spec", fields(spec)),
        ("status", fields(status)),
    ]
}

fn container_states() -> Keep {
    each(vec![
        ("image", Keep::Beside(IMAGE_BYTES)),
        ("restartCount", Keep::Beside(WORD_BYTES)),
        (
            "state",
            fields(vec![
                ("running", Keep::Presence),
                ("terminated", Keep::Presence),
                (
                    "waiting",
                    fields(vec![
                        ("reason", Keep::Whole(WORD_BYTES)),
                        ("message", Keep::Whole(MESSAGE_BYTES)),
                    ]),
                ),
            ]),
        ),
    ])
}
