//! A stand-in for AWS.
