//! What one run over all namespaces did: a table for people, JSON for programs, and a verdict.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cause::Cause;

/// What became of the pull Secret of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncOutcome {
    /// It held fresh tokens already.
    Fresh,
    /// It was created, or got tokens that it lacked.
    Written,
    /// It is not as wanted, for this cause.
    Failed(Cause),
}

impl SyncOutcome {
    /// One word, in the table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Written => "written",
            Self::Failed(_) => "failed",
        }
    }
}

/// One namespace in which something wants the pull Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRow {
    /// The namespace.
    pub namespace: String,
    /// The hosts that the Secret shall open.
    pub registries: Vec<String>,
    /// What became of it.
    pub outcome: SyncOutcome,
    /// When the first of its tokens expires.
    pub expires_at: Option<Timestamp>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncVerdict {
    /// Every Secret is as wanted.
    Done,
    /// Some Secret is not.
    Failed,
    /// Every failure is one of reaching AWS or the cluster.
    Unreachable,
}

/// All rows of a run.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// Ordered by namespace.
    rows: Vec<SyncRow>,
}

impl SyncReport {
    /// Failures come first, then the namespaces by name.
    pub fn new(mut rows: Vec<SyncRow>) -> Self {
        let is_fine = |row: &SyncRow| !matches!(row.outcome, SyncOutcome::Failed(_));
        rows.sort_by(|one, other| {
            (is_fine(one), &one.namespace).cmp(&(is_fine(other), &other.namespace))
        });
        Self { rows }
    }

    /// How the run ended.
    pub fn verdict(&self) -> SyncVerdict {
        let mut causes = self.causes().peekable();
        if causes.peek().is_none() {
            SyncVerdict::Done
        } else if causes.all(is_unreachable) {
            SyncVerdict::Unreachable
        } else {
            SyncVerdict::Failed
        }
    }

    /// A table with a line for each namespace, and the remedy of each cause below.
    pub fn table(&self) -> String {
        let head = ["NAMESPACE", "RESULT", "REGISTRIES", "EXPIRES"].map(str::to_owned);
        let lines: Vec<[String; 4]> = std::iter::once(head)
            .chain(self.rows.iter().map(|row| {
                let result = match row.outcome {
                    SyncOutcome::Failed(cause) => format!("failed: {}", cause.name()),
                    outcome => outcome.name().to_owned(),
                };
                let expires = row.expires_at.map(|at| at.to_string());
                [
                    row.namespace.clone(),
                    result,
                    row.registries.len().to_string(),
                    expires.unwrap_or_else(|| "-".to_owned()),
                ]
            }))
            .collect();
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].len());
            cells.max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        let mut text = String::new();
        for [namespace, result, registries, expires] in &lines {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{namespace:0$}   {result:1$}   {registries:2$}   {expires}",
                widths[0], widths[1], widths[2],
            );
        }
        let mut causes: Vec<Cause> = self.causes().collect();
        causes.sort_unstable();
        causes.dedup();
        for cause in causes {
            let (name, remedy) = (cause.name(), cause.remedy());
            let _ = write!(text, "\n{name}: {cause}\n  {remedy}\n");
        }
        text
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let mut object = json!({
                "namespace": row.namespace,
                "result": row.outcome.name(),
                "registries": row.registries,
                "expiresAt": row.expires_at.map(|at| at.to_string()),
            });
            if let SyncOutcome::Failed(cause) = row.outcome {
                object["cause"] = json!(cause.name());
                object["message"] = json!(cause.sentence());
                object["fix"] = json!(cause.remedy());
            }
            object
        });
        let rows: Vec<Value> = rows.collect();
        json!({ "ok": self.verdict() == SyncVerdict::Done, "namespaces": rows })
    }

    fn causes(&self) -> impl Iterator<Item = Cause> {
        self.rows.iter().filter_map(|row| match row.outcome {
            SyncOutcome::Failed(cause) => Some(cause),
            SyncOutcome::Fresh | SyncOutcome::Written => None,
        })
    }
}

fn is_unreachable(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::AwsUnreachable | Cause::AwsTimeout | Cause::ApiServerUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(namespace: &str, outcome: SyncOutcome) -> SyncRow {
        SyncRow {
            namespace: namespace.to_owned(),
            registries: vec!["host".to_owned()],
            outcome,
            expires_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        }
    }

    #[test]
    fn table_shows_failures_first_with_their_remedy() {
        let failed = SyncOutcome::Failed(Cause::ForeignOwner);
        let rows = vec![
            row("b", SyncOutcome::Fresh),
            row("a-long-name", SyncOutcome::Written),
            row("z", failed),
        ];
        let table = SyncReport::new(rows).table();
        let expected = format!(
            "\
NAMESPACE     RESULT                  REGISTRIES   EXPIRES
z             failed: foreign_owner   1            2026-01-02T03:04:05Z
a-long-name   written                 1            2026-01-02T03:04:05Z
b             fresh                   1            2026-01-02T03:04:05Z

foreign_owner: {}
  {}
",
            Cause::ForeignOwner.sentence(),
            Cause::ForeignOwner.remedy(),
        );
        assert_eq!(table, expected);
    }

    #[test]
    fn json_names_cause_and_fix() {
        let failed = SyncOutcome::Failed(Cause::AwsThrottled);
        let report = SyncReport::new(vec![row("a", SyncOutcome::Fresh), row("b", failed)]);
        let json = report.json();
        assert_eq!(json["ok"], false);
        assert_eq!(json["namespaces"][0]["cause"], "aws_throttled");
        assert_eq!(json["namespaces"][0]["fix"], Cause::AwsThrottled.remedy());
        assert_eq!(json["namespaces"][1]["expiresAt"], "2026-01-02T03:04:05Z");
        assert_eq!(SyncReport::default().json()["ok"], true);
    }

    #[test]
    fn verdict_tells_unreachable_from_other_failures() {
        let failed = SyncOutcome::Failed;
        for (outcomes, verdict) in [
            (vec![], SyncVerdict::Done),
            (
                vec![SyncOutcome::Fresh, SyncOutcome::Written],
                SyncVerdict::Done,
            ),
            (
                vec![SyncOutcome::Fresh, failed(Cause::AwsTimeout)],
                SyncVerdict::Unreachable,
            ),
            (
                vec![failed(Cause::AwsUnreachable), failed(Cause::ForeignType)],
                SyncVerdict::Failed,
            ),
        ] {
            let rows = outcomes.iter().map(|outcome| row("a", *outcome)).collect();
            assert_eq!(SyncReport::new(rows).verdict(), verdict, "{outcomes:?}");
        }
    }
}
