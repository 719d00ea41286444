//! The stand-in as a process: one line of output, and an end on SIGTERM.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

#[tokio::test]
async fn process_prints_its_address_and_ends_on_sigterm() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aws-stand-in"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let client = aws_stand_in::client::Client::new(line["url"].as_str().unwrap());
    assert!(client.calls().await.unwrap().is_empty());

    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
    assert_no_more_lines(stdout);
}

fn assert_no_more_lines(stdout: impl BufRead) {
    assert_eq!(stdout.lines().count(), 0);
}
