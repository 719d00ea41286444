//! The chart's schema of `config`, which is that of the types of the file.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::*;

/// The chart's schema of its values.
const CHART: &str = include_str!("../../../../manifests/helm/values.schema.json");

/// The schema of the file. It has no definitions of its own, because it is a part of another schema.
fn generated() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<File>();
    schema.remove("title");
    let mut schema = schema.to_value();
    forget_defaults(&mut schema);
    schema
}

/// Helm ignores `default`, and the chart's values say it.
fn forget_defaults(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("default");
            fields.values_mut().for_each(forget_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_defaults),
        _ => {}
    }
}

#[test]
fn schema_of_the_chart_is_that_of_the_file() {
    let mut chart: Value = serde_json::from_str(CHART).unwrap();
    let generated = generated();
    if chart["properties"]["config"] != generated {
        chart["properties"]["config"] = generated;
        panic!("manifests/helm/values.schema.json is to be:\n{chart:#}");
    }
}
