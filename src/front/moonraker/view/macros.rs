//! Commands and macros (moonraker.md 3.1, section 5 "Macros").

use serde_json::{Map, Value, json};

use super::{Builder, Input};
use crate::station::script::{self, Word};

/// Both UIs want these three, and hide them from the macro panel when they rename something.
const PRINT_CONTROL: [(&str, &str); 3] =
    [("PAUSE", "BASE_PAUSE"), ("RESUME", "BASE_RESUME"), ("CANCEL_PRINT", "BASE_CANCEL_PRINT")];

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    let help = script::command_help(input.caps, input.state);
    for (name, base) in PRINT_CONTROL {
        let section = format!("gcode_macro {name}");
        builder.object(section.as_str(), json!({}));
        builder.section(
            &section,
            json!({"rename_existing": base, "gcode": base, "description": "Print control"}),
        );
    }
    for word in script::macros(input.caps, input.state) {
        let section = format!("gcode_macro {}", word.name);
        builder.object(section.as_str(), json!({}));
        builder.section(&section, json!({"gcode": template(&word), "description": word.help}));
    }
    // Mainsail offers to heat for a file where it finds M104 and its like.
    let mut commands: Map<String, Value> =
        script::codes(input.caps).into_iter().map(|code| (code.to_owned(), json!({}))).collect();
    commands.extend(help.into_iter().map(|(name, text)| (name, json!({"help": text}))));
    builder.object("gcode", json!({"commands": commands}));
}

/// The macro as Klipper's configuration would have it: both UIs find the parameters, one per line, by `params.NAME`.
fn template(word: &Word) -> String {
    let mut text = word.name.to_owned();
    for (name, default) in &word.params {
        let default = if default.is_empty() { String::new() } else { format!("|default({default})") };
        text.push_str(&format!("\n  {name}={{params.{name}{default}}}"));
    }
    text
}
