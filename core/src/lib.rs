//! The pure core of ecr-pull-secrets.
