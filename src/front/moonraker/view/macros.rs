//! Commands and macros (moonraker.md 3.1, section 5 "Macros").

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::configfile::Section;
use super::{Builder, Input, Object};
use crate::model::Capabilities;
use crate::station::script::{self, Fitted, Word};

/// Both UIs want these three, and hide them from the macro panel when they rename something.
const PRINT_CONTROL: [(&str, &str); 3] =
    [("PAUSE", "BASE_PAUSE"), ("RESUME", "BASE_RESUME"), ("CANCEL_PRINT", "BASE_CANCEL_PRINT")];

/// The words of a printer as objects, with what they were made from.
pub struct Macros {
    /// The words that change the nozzle, as sections, by the number of the nozzle.
    tools: Vec<Arc<Section>>,
    caps: Arc<Capabilities>,
    fitted: Fitted,
    commands: Arc<Object>,
    sections: Vec<Arc<Section>>,
}

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    let fitted = Fitted::of(input.state);
    let kept = builder.kept.macros.take();
    let same = |kept: &Macros| kept.fitted == fitted && Arc::ptr_eq(&kept.caps, input.caps);
    let macros = kept.filter(same).unwrap_or_else(|| Macros::of(input.caps, fitted));
    let empty = Arc::new(Object::new());
    for section in &macros.sections {
        builder.objects.insert(section.name.clone(), empty.clone());
    }
    // Both UIs paint the button of the tool that is used by `active`; without it nobody sees which nozzle that is.
    for (tool, section) in macros.tools.iter().enumerate() {
        let active = tool == input.state.device.active_tool;
        builder.object(section.name.as_str(), json!({"active": active}));
    }
    builder.sections.extend(macros.sections.iter().chain(&macros.tools).cloned());
    builder.objects.insert("gcode".to_owned(), macros.commands.clone());
    builder.kept.macros = Some(macros);
}

impl Macros {
    fn of(caps: &Arc<Capabilities>, fitted: Fitted) -> Self {
        let words = script::words(caps, fitted);
        let control = PRINT_CONTROL.map(|(name, base)| renamed(name, base, "Print control"));
        let nozzles = if caps.nozzles.len() > 1 { caps.nozzles.len() } else { 0 };
        let tools = (0..nozzles).filter_map(|tool| {
            let name = format!("T{tool}");
            let word = words.iter().find(|word| word.name == name)?;
            Some(Arc::new(renamed(&name, &format!("BASE_{name}"), &word.help)))
        });
        let tools = tools.collect();
        let buttons = words.iter().filter(|word| word.button).map(|word| {
            let options = json!({"gcode": template(word), "description": word.help});
            Section::new(format!("gcode_macro {}", word.name), options)
        });
        let sections = control.into_iter().chain(buttons).map(Arc::new).collect();
        // Mainsail offers to heat for a file where it finds M104 and its like.
        let codes = script::codes(caps).into_iter().map(|code| (code.to_owned(), json!({})));
        let helped = words.iter().map(|word| (word.name.to_owned(), json!({"help": word.help})));
        let commands: Map<String, Value> = codes.chain(helped).collect();
        let commands = Arc::new(Map::from_iter([("commands".to_owned(), Value::from(commands))]));
        Self { tools, caps: caps.clone(), fitted, commands, sections }
    }
}

/// A macro that both UIs know by its name and leave out of their lists of macros, where they can.
fn renamed(name: &str, base: &str, help: &str) -> Section {
    let options = json!({"rename_existing": base, "gcode": base, "description": help});
    Section::new(format!("gcode_macro {name}"), options)
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
