//! Reads message types out of their source: fields, numbers, types, doc comments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};
use syn::{Attribute, Fields, GenericArgument, Item, ItemEnum, ItemStruct, Lit, PathArguments, Type};

use crate::sources::source;

/// The one file outside the crate: what an entry of the gateway's audit log says.
const AUDIT: &str = "../../appliance/gateway/src/audit/action.rs";

/// Files with types that leave, below `src`.
const FILES: [&str; 18] = [
    AUDIT,
    "alert.rs",
    "alert/course.rs",
    "enrolment.rs",
    "id.rs",
    "inventory.rs",
    "message.rs",
    "message/life.rs",
    "replay.rs",
    "revision/mod.rs",
    "sample.rs",
    "status/doctor.rs",
    "status/intake.rs",
    "status/life.rs",
    "status/mod.rs",
    "status/ring.rs",
    "audit.rs",
    "timestamp.rs",
];

/// Names under which private encodings are published, and the public types that explain their fields.
const ALIASES: [(&str, &str, &[&str]); 8] = [
    ("AuditText", "../../appliance/gateway/src/audit/action.rs::Entry", &[]),
    ("Alert", "alert.rs::Wire", &["Alert", "AlertKey", "alert.rs::Evidence"]),
    ("AlertKey", "alert/course.rs::WireKey", &["alert.rs::AlertKey"]),
    ("Course", "alert/course.rs::WireCourse", &["alert/course.rs::Course"]),
    ("Decision", "alert/course.rs::WireDecision", &["alert/course.rs::Decision"]),
    ("Suppression", "alert/course.rs::WireSuppression", &["alert/course.rs::Suppression"]),
    ("Evidence", "alert.rs::WireEvidence", &["alert.rs::Evidence"]),
    ("Sample", "sample.rs::Wire", &["Sample"]),
];

/// What bytes hold.
const CONTAINS: [(&str, &str); 6] = [
    ("AuditEntry.text", "json:AuditText"),
    ("Batch.records_zstd", "zstd:Records"),
    ("Records.records", "record"),
    ("ReplayReply.result", "json:Replayed"),
    ("Up.rules", "json:RuleReport"),
    ("Up.status", "json:Status"),
];

/// Every type of those files, by `file::name` and by name.
pub(crate) struct Types {
    structs: BTreeMap<String, Rc<ItemStruct>>,
    enums: BTreeMap<String, ItemEnum>,
    /// The variants of `Up`: a oneof stands in a module of its own.
    up: ItemEnum,
}

impl Types {
    /// Reads the files of the crate that lies in `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let (mut structs, mut enums, mut up) = (BTreeMap::new(), BTreeMap::new(), None);
        for name in FILES {
            let file = syn::parse_file(&std::fs::read_to_string(root.join("src").join(name)).unwrap()).unwrap();
            for item in file.items {
                match item {
                    Item::Struct(item) => {
                        let ident = item.ident.to_string();
                        let item = Rc::new(item);
                        structs.insert(format!("{name}::{ident}"), Rc::clone(&item));
                        structs.entry(ident).or_insert(item);
                    }
                    Item::Enum(item) => {
                        enums.insert(item.ident.to_string(), item);
                    }
                    Item::Mod(module) if module.ident == "up" => {
                        up = module
                            .content
                            .unwrap()
                            .1
                            .into_iter()
                            .find_map(|item| if let Item::Enum(item) = item { Some(item) } else { None });
                    }
                    _ => {}
                }
            }
        }
        Self { structs, enums, up: up.unwrap() }
    }

    /// Describes the messages of these names and all that they hold.
    pub(crate) fn reachable(&self, roots: &[String]) -> BTreeMap<String, Value> {
        let (mut described, mut todo) = (BTreeMap::new(), roots.to_vec());
        while let Some(name) = todo.pop() {
            if described.contains_key(&name) {
                continue;
            }
            let message = self.describe(&name);
            for field in message["fields"].as_array().unwrap() {
                let kind = field["type"].as_str().unwrap();
                let inner = kind.strip_prefix("map<string, ").and_then(|kind| kind.strip_suffix('>')).unwrap_or(kind);
                let held = field["contains"].as_str().and_then(|contains| contains.split_once(':')).map(|(_, held)| held);
                todo.extend([Some(inner), held].into_iter().flatten().filter(|kind| self.is_message(kind)).map(str::to_owned));
            }
            described.insert(name, message);
        }
        described
    }

    fn is_message(&self, name: &str) -> bool {
        ALIASES.iter().any(|(alias, ..)| *alias == name) || self.structs.contains_key(name) || self.tagged(name).is_some()
    }

    /// An enum that is written as an object with its variant's name in it.
    fn tagged(&self, name: &str) -> Option<(&ItemEnum, String)> {
        let item = self.enums.get(name)?;
        Some((item, serde_option(&item.attrs, "tag")?))
    }

    fn describe(&self, name: &str) -> Value {
        if name == "Up" {
            return self.describe_up();
        }
        if let Some((item, tag)) = self.tagged(name) {
            return self.describe_tagged(name, item, &tag);
        }
        let alias = ALIASES.iter().find(|(alias, ..)| *alias == name);
        let (from, explained_by) = alias.map_or((name, &[][..]), |(_, from, explained_by)| (*from, *explained_by));
        let item = self.structs.get(from).unwrap_or_else(|| panic!("there is no type {from}"));
        let is_protobuf = item.fields.iter().any(|field| attribute(&field.attrs, "prost").is_some());
        let mut fields = Vec::new();
        for field in named(&item.fields) {
            let field_name = field.ident.as_ref().unwrap().to_string();
            if serde_flag(&field.attrs, "flatten") {
                let mut inner = self.describe(&type_name(&field.ty));
                for field in inner["fields"].as_array_mut().unwrap() {
                    self.finish(name, field);
                    fields.push(field.clone());
                }
                continue;
            }
            let own = doc(&field.attrs);
            let explained = explained_by.iter().find_map(|by| self.doc_of(by, &field_name));
            let meaning = if own.is_empty() { explained.unwrap_or_default() } else { own };
            let mut description = json!({ "name": field_name, "meaning": meaning });
            if is_protobuf {
                prost_type(&field.attrs, &field.ty, &mut description);
            } else {
                self.json_type(&field.ty, &mut description);
            }
            self.finish(name, &mut description);
            fields.push(description);
        }
        let about = explained_by.first().map_or_else(|| doc(&item.attrs), |by| doc(&self.structs[*by].attrs));
        json!({ "encoding": if is_protobuf { "protobuf" } else { "json" }, "meaning": about, "fields": fields })
    }

    fn describe_up(&self) -> Value {
        let mut fields = Vec::new();
        for variant in &self.up.variants {
            let mut description = json!({ "name": snake(&variant.ident.to_string()), "meaning": doc(&variant.attrs) });
            let Fields::Unnamed(content) = &variant.fields else { panic!("a variant of a oneof has one value") };
            prost_type(&variant.attrs, &content.unnamed[0].ty, &mut description);
            self.finish("Up", &mut description);
            fields.push(description);
        }
        json!({ "encoding": "protobuf", "meaning": doc(&self.structs["Up"].attrs), "fields": fields })
    }

    fn describe_tagged(&self, name: &str, item: &ItemEnum, tag: &str) -> Value {
        let mut fields = vec![json!({ "name": tag, "type": "string", "values": values(item), "meaning": doc(&item.attrs) })];
        let mut known = BTreeSet::new();
        let all = item.variants.iter().flat_map(|variant| named(&variant.fields));
        // Several variants may have a field of one name, of one meaning.
        for field in all.filter(|field| known.insert(field.ident.clone())) {
            let mut description = json!({ "name": field.ident.as_ref().unwrap().to_string(), "meaning": doc(&field.attrs) });
            self.json_type(&field.ty, &mut description);
            fields.push(description);
        }
        fields.iter_mut().for_each(|field| self.finish(name, field));
        json!({ "encoding": "json", "meaning": doc(&item.attrs), "fields": fields })
    }

    /// Adds what bytes hold, an enumeration's values, and the source.
    fn finish(&self, message: &str, description: &mut Value) {
        let place = format!("{message}.{}", description["name"].as_str().unwrap());
        if let Some((_, contains)) = CONTAINS.iter().find(|(known, _)| *known == place) {
            description["contains"] = (*contains).into();
        }
        if let Some(kind) = description["type"].as_str().map(str::to_owned) {
            if let Some(public) = kind.strip_prefix("Wire") {
                description["type"] = if public == "Key" { "AlertKey" } else { public }.into();
            }
            if let Some(item) = self.enums.get(&kind).filter(|_| self.tagged(&kind).is_none()) {
                description["values"] = values(item).into();
                description["type"] = if description["number"].is_u64() { "uint32" } else { "string" }.into();
            }
        }
        description["source"] = source(message, &place).unwrap_or_default().into();
    }

    fn doc_of(&self, name: &str, field: &str) -> Option<String> {
        let found = named(&self.structs.get(name)?.fields).find(|known| known.ident.as_ref().is_some_and(|ident| ident == field))?;
        Some(doc(&found.attrs))
    }

    fn json_type(&self, kind: &Type, description: &mut Value) {
        let Type::Path(path) = kind else {
            // `[String; 2]`.
            if let Type::Array(array) = kind {
                description["repeated"] = true.into();
                self.json_type(&array.elem, description);
            }
            return;
        };
        let segment = path.path.segments.last().unwrap();
        let arguments: Vec<&Type> = match &segment.arguments {
            PathArguments::AngleBracketed(arguments) => arguments
                .args
                .iter()
                .filter_map(|argument| if let GenericArgument::Type(kind) = argument { Some(kind) } else { None })
                .collect(),
            _ => Vec::new(),
        };
        match segment.ident.to_string().as_str() {
            "Option" => {
                description["optional"] = true.into();
                self.json_type(arguments[0], description);
            }
            "Vec" => {
                description["repeated"] = true.into();
                self.json_type(arguments[0], description);
            }
            "BTreeMap" => {
                let mut value = json!({});
                self.json_type(arguments[1], &mut value);
                description["type"] = format!("map<string, {}>", value["type"].as_str().unwrap()).into();
            }
            "String" | "GatewayId" | "TenantId" => description["type"] = "string".into(),
            "bool" => description["type"] = "bool".into(),
            "u8" | "u16" | "u32" | "u64" | "i64" | "f64" | "RevisionNumber" | "Timestamp" => description["type"] = "number".into(),
            other => description["type"] = other.into(),
        }
    }
}

/// What an enumeration's variants are called in JSON.
fn values(item: &ItemEnum) -> Vec<String> {
    let names = item.variants.iter().map(|variant| snake(&variant.ident.to_string()));
    let is_kebab = serde_option(&item.attrs, "rename_all").as_deref() == Some("kebab-case");
    names.map(|name| if is_kebab { name.replace('_', "-") } else { name }).collect()
}

/// Fills in number, type and repetition of a protobuf field.
fn prost_type(attributes: &[Attribute], kind: &Type, description: &mut Value) {
    attribute(attributes, "prost")
        .unwrap_or_else(|| panic!("{description} has no number"))
        .parse_nested_meta(|meta| {
            let name = meta.path.get_ident().unwrap().to_string();
            let value = if meta.input.peek(syn::Token![=]) { Some(meta.value()?.parse::<syn::LitStr>()?.value()) } else { None };
            match (name.as_str(), value) {
                ("tag", Some(number)) => description["number"] = number.parse::<u64>().unwrap().into(),
                ("message", None) => description["type"] = type_name(kind).into(),
                ("enumeration", Some(of)) => description["type"] = of.into(),
                ("btree_map", Some(of)) => description["type"] = format!("map<{of}>").into(),
                ("repeated" | "optional", None) => description[name] = true.into(),
                (scalar, _) => description["type"] = scalar.into(),
            }
            Ok(())
        })
        .unwrap();
}

/// The innermost type's name: of `Vec<LanePosition>`, `LanePosition`.
fn type_name(kind: &Type) -> String {
    let Type::Path(path) = kind else { panic!("a type without a name") };
    let segment = path.path.segments.last().unwrap();
    if let PathArguments::AngleBracketed(arguments) = &segment.arguments
        && let Some(GenericArgument::Type(inner)) = arguments.args.last()
    {
        return type_name(inner);
    }
    segment.ident.to_string()
}

fn named(fields: &Fields) -> impl Iterator<Item = &syn::Field> {
    fields.iter().filter(|field| field.ident.is_some())
}

fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.path().is_ident(name))
}

fn serde_option(attributes: &[Attribute], option: &str) -> Option<String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                let value = if meta.input.peek(syn::Token![=]) { meta.value()?.parse::<Lit>().ok() } else { None };
                if let (true, Some(Lit::Str(text))) = (meta.path.is_ident(option), value) {
                    found = Some(text.value());
                }
                Ok(())
            })
            .unwrap();
    }
    found
}

fn serde_flag(attributes: &[Attribute], flag: &str) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("serde")).any(|attribute| {
        let mut found = false;
        let _options_with_values = attribute.parse_nested_meta(|meta| {
            found |= meta.path.is_ident(flag);
            if meta.input.peek(syn::Token![=]) { meta.value()?.parse::<Lit>().map(drop) } else { Ok(()) }
        });
        found
    })
}

/// The doc comment as one text, links as plain words.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(literal) = &pair.value else { return None };
        if let Lit::Str(text) = &literal.lit { Some(text.value().trim().to_owned()) } else { None }
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    text.replace("[`super::", "").replace("[`", "").replace("`]", "").replace('`', "")
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
