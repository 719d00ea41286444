//! The chart's schema of `config`, which is generated from the types of the file. `UPDATE_SCHEMA=1`
//! writes it.

use std::fs;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::*;

/// The schema of the file. It has no definitions of its own, because it is a part of another schema.
fn generated() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<File>();
    schema.remove("title");
    without_defaults(schema.to_value())
}

/// Without `default`: Helm ignores it, and the values say it. Without the formats of numbers.
fn without_defaults(mut schema: Value) -> Value {
    fn visit(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                fields.remove("default");
                fields.values_mut().for_each(visit);
            }
            Value::Array(items) => items.iter_mut().for_each(visit),
            _ => {}
        }
    }
    visit(&mut schema);
    schema
}

#[test]
fn schema_of_the_chart_is_that_of_the_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/helm/values.schema.json");
    let mut whole: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let generated = generated();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        whole["properties"]["config"] = generated.clone();
        fs::write(&path, format!("{whole:#}\n")).unwrap();
    }
    assert_eq!(
        whole["properties"]["config"], generated,
        "UPDATE_SCHEMA=1 cargo test -p ecr-pull-secrets-core schema"
    );
}
