//! STS's checks of a session request before the trust check. The limits are those of the STS API model.

use crate::{spec, sts::field, wire::ApiError};

const SHORTEST_SECONDS: i64 = 900;
const LONGEST_SECONDS: i64 = 43200;
const DEFAULT_SECONDS: i64 = 3600;
/// Limit of a session that was made from another session: one hour.
const LONGEST_CHAINED_SECONDS: i64 = 3600;

type Fields = [(String, String)];

/// The parameters that both assume calls share.
pub(crate) struct Asked<'a> {
    pub(crate) role_arn: &'a str,
    pub(crate) session_name: &'a str,
    seconds: Option<i64>,
}

impl<'a> Asked<'a> {
    pub(crate) fn read(fields: &'a Fields) -> Result<Self, ApiError> {
        let role_arn = required(fields, "RoleArn", "roleArn")?;
        length(role_arn, "roleArn", 20, 2048)?;
        if !role_arn.starts_with("arn:") || !role_arn.contains(":role/") {
            return Err(ApiError::new(
                400,
                "ValidationError",
                format!("{role_arn} is invalid"),
            ));
        }
        let session_name = required(fields, "RoleSessionName", "roleSessionName")?;
        grammar(session_name, "roleSessionName", "+=,.@-")?;
        length(session_name, "roleSessionName", 2, 64)?;
        let seconds = field(fields, "DurationSeconds").map(duration).transpose()?;
        Ok(Self {
            role_arn,
            session_name,
            seconds,
        })
    }

    /// The session's lifetime in seconds, if the role allows it.
    pub(crate) fn session_seconds(
        &self,
        role: &spec::Role,
        chained: bool,
    ) -> Result<i64, ApiError> {
        let seconds = self.seconds.unwrap_or(DEFAULT_SECONDS);
        if chained && seconds > LONGEST_CHAINED_SECONDS {
            let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
            return Err(ApiError::new(400, "ValidationError", message));
        }
        if seconds > role.max_session_seconds {
            let message =
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
            return Err(ApiError::new(400, "ValidationError", message));
        }
        Ok(seconds)
    }
}

/// The external id, if the call has a valid one.
pub(crate) fn external_id(fields: &Fields) -> Result<Option<&str>, ApiError> {
    let Some(id) = field(fields, "ExternalId") else {
        return Ok(None);
    };
    grammar(id, "externalId", "+=,.@:/-")?;
    length(id, "externalId", 2, 1224)?;
    Ok(Some(id))
}

/// The web identity token, with only its length checked.
pub(crate) fn web_identity_token(fields: &Fields) -> Result<&str, ApiError> {
    let token = required(fields, "WebIdentityToken", "webIdentityToken")?;
    // The message does not quote the value, because it is a credential.
    if !(4..=20_000).contains(&token.len()) {
        let message = "1 validation error detected: Value at 'webIdentityToken' failed to satisfy constraint: \
                       Member must have length between 4 and 20000";
        return Err(ApiError::new(400, "ValidationError", message));
    }
    Ok(token)
}

fn duration(text: &str) -> Result<i64, ApiError> {
    let seconds = text
        .parse::<i64>()
        .map_err(|_| ApiError::new(400, "MalformedInput", format!("'{text}' is not an integer")))?;
    if seconds < SHORTEST_SECONDS {
        let constraint =
            format!("Member must have value greater than or equal to {SHORTEST_SECONDS}");
        return Err(invalid(text, "durationSeconds", &constraint));
    }
    if seconds > LONGEST_SECONDS {
        let constraint = format!("Member must have value less than or equal to {LONGEST_SECONDS}");
        return Err(invalid(text, "durationSeconds", &constraint));
    }
    Ok(seconds)
}

fn required<'a>(fields: &'a Fields, name: &str, member: &str) -> Result<&'a str, ApiError> {
    field(fields, name).ok_or_else(|| {
        let message = format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        );
        ApiError::new(400, "ValidationError", message)
    })
}

/// Checks for `[\w…]*` in ASCII, as the API model requires.
fn grammar(value: &str, member: &str, others: &str) -> Result<(), ApiError> {
    let allowed = |character: char| {
        character.is_ascii_alphanumeric() || character == '_' || others.contains(character)
    };
    if !value.chars().all(allowed) {
        let constraint = format!("Member must satisfy regular expression pattern: [\\w{others}]*");
        return Err(invalid(value, member, &constraint));
    }
    Ok(())
}

fn length(value: &str, member: &str, shortest: usize, longest: usize) -> Result<(), ApiError> {
    if value.len() < shortest {
        let constraint = format!("Member must have length greater than or equal to {shortest}");
        return Err(invalid(value, member, &constraint));
    }
    if value.len() > longest {
        let constraint = format!("Member must have length less than or equal to {longest}");
        return Err(invalid(value, member, &constraint));
    }
    Ok(())
}

fn invalid(value: &str, member: &str, constraint: &str) -> ApiError {
    let message = format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    );
    ApiError::new(400, "ValidationError", message)
}
