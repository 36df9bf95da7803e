//! The plan as it is told to a user who only asks.

use super::StartPreview;
use super::plan::{Plan, refusal_code};

pub fn preview(plan: &Plan) -> StartPreview {
    let mut preview = StartPreview {
        file: plan.file.path.clone(),
        plate: plan.told_plate,
        filaments: plan.mapping.filaments.clone(),
        objections: plan.objections.clone(),
        transfer: plan.transfer,
    };
    if let Some(refusal) = &plan.refusal {
        preview.objections.insert(0, (refusal_code(refusal).to_owned(), refusal.to_string()));
    }
    preview
}
