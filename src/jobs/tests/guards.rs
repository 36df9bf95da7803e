//! What is held against a start, and in which form the file goes to the printer.

use super::*;

#[test]
fn a_second_job_is_refused_from_the_first_moment_on() {
    let world = world();
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(&world);
    life.put("other.gcode", gcode());
    let busy = |error| matches!(error, Err(StartError::Command(CommandError::Busy(_))));
    assert!(busy(life.start("other.gcode")));
    assert_eq!(life.start("cube.gcode"), Ok(()));
    world.fake.machine().stuck_upload = false;
    life.until_phase(JobPhase::Preparing);
    assert!(busy(life.start("other.gcode")));
    assert_eq!(world.starts(), 1);
    let preview =
        life.run(life.jobs.preview(&StartRequest { file: "other.gcode".into(), ..StartRequest::default() }));
    assert_eq!(preview.unwrap().objections[0].0, "busy");
}

#[test]
fn guards_object_by_code_and_only_some_can_be_overridden() {
    let world = world();
    let life = world.boot();
    life.online();
    life.put("two.3mf", archive(&[(1, "PLA", "#FF0000"), (2, "PETG", "#00FF00")]));
    let ask = |request: StartRequest| life.run(life.jobs.start(request));
    let code = |result: Result<(), StartError>| match result {
        Err(StartError::Objection { code, .. }) => code,
        other => format!("{other:?}"),
    };
    let file = |file: &str| StartRequest { file: file.into(), ..StartRequest::default() };
    assert!(matches!(ask(file("none.gcode")), Err(StartError::NotFound(_))));
    assert_eq!(code(ask(file("two.3mf"))), "plate");
    assert_eq!(code(ask(StartRequest { plate: Some(7), ..file("two.3mf") })), "plate");
    world.fake.show(|device| device.storage.present = Some(false));
    assert_eq!(code(ask(StartRequest { overrides: vec!["storage".into()], ..file("two.gcode") })), "storage");
    world.fake.show(|device| {
        device.storage.present = Some(true);
        device.storage.free_bytes = Some(10);
    });
    assert_eq!(code(ask(file("two.gcode"))), "full");
    world.fake.show(|device| {
        device.storage.free_bytes = None;
        let filament = crate::model::Filament { material: Some("ABS".into()), ..Default::default() };
        let slot = crate::model::Slot {
            present: Some(true),
            filament: Some(filament),
            ..crate::model::Slot::empty(SlotId::External(0))
        };
        device.filament.external = vec![slot];
    });
    assert_eq!(code(ask(file("two.gcode"))), "filament");
    assert_eq!(world.starts(), 0);
    ask(StartRequest { overrides: vec!["filament".into()], ..file("two_plate_2.gcode") }).unwrap();
    life.until_phase(JobPhase::Preparing);
    let start = world.fake.machine().starts[0].clone();
    assert_eq!((start.plate, start.mapping), (2, vec![None, Some(SlotId::External(0))]));
}

/// A unit with one slot of red PLA.
fn red_unit() -> crate::model::FilamentUnit {
    let filament = crate::model::Filament { material: Some("PLA".into()), ..Default::default() };
    let empty = crate::model::Slot::empty(SlotId::Unit { unit: 0, slot: 2 });
    crate::model::FilamentUnit {
        name: "Unit".into(),
        slots: vec![crate::model::Slot { present: Some(true), filament: Some(filament), ..empty }],
        ..crate::model::FilamentUnit::default()
    }
}

#[test]
fn a_file_on_the_printer_is_read_for_its_filaments() {
    let world = world();
    for (name, content) in [("Old.gcode.3mf", archive(RED)), ("torn.gcode.3mf", b"PK".to_vec())] {
        let mut machine = world.fake.machine();
        machine.files.insert(name.into(), content.len() as u64);
        machine.contents.insert(name.into(), content);
    }
    let life = world.boot();
    life.online();
    world.fake.show(|device| device.filament.units = vec![red_unit()]);
    let unread = life.start("printer/torn.gcode");
    assert!(matches!(&unread, Err(StartError::Objection { code, .. }) if code == "unmapped"), "{unread:?}");
    life.start("printer/Old.gcode").unwrap();
    life.until_phase(JobPhase::Preparing);
    let start = world.fake.machine().starts[0].clone();
    assert_eq!(start.mapping, vec![Some(SlotId::Unit { unit: 0, slot: 2 })]);
    assert_eq!((world.starts(), world.uploads().len()), (1, 0));
}

#[test]
fn plain_gcode_is_wrapped_for_printers_of_archives_unless_that_is_switched_off() {
    let mut world = world();
    world.caps.files.gcode = false;
    let life = world.boot();
    life.online();
    life.put("box.gcode", gcode());
    life.start("box.gcode").unwrap();
    life.until_phase(JobPhase::Preparing);
    assert_eq!(world.fake.machine().starts[0].remote_path, "box.gcode.3mf");
    life.stop();
    world.fake.stage(DeviceStage::Idle);
    world.config.wrap_gcode = false;
    let life = world.boot();
    life.online();
    let refused = life.start("box.gcode");
    assert!(matches!(refused, Err(StartError::Objection { code, .. }) if code == "format"));
}

#[test]
fn of_the_files_that_stay_at_a_printer_the_newest_are_remembered() {
    use crate::jobs::transfer::SENT;
    let mut world = world();
    (world.caps.files.archives, world.caps.files.remove_after_job) = (false, false);
    let life = world.boot();
    life.online();
    let space = format!("sent/{}", life.printer.name());
    for number in 0..SENT {
        let sent = serde_json::json!({"size": 1, "md5": "", "at": 1_000 + number});
        life.store.put(&space, &format!("old {number}.gcode"), sent).unwrap();
    }
    life.put("cube.3mf", archive(RED));
    life.start("cube.gcode").unwrap();
    life.until_phase(JobPhase::Preparing);
    let kept = life.store.list(&space).unwrap();
    let keeps = |name: &str| kept.iter().any(|(path, _)| path == name);
    assert_eq!(kept.len(), SENT);
    assert!(keeps("cube.gcode") && keeps("old 1.gcode") && !keeps("old 0.gcode"));
}

#[test]
fn an_archive_is_unpacked_for_printers_of_gcode_and_sent_once_where_files_may_stay() {
    let mut world = world();
    (world.caps.files.archives, world.caps.files.remove_after_job) = (false, false);
    let life = world.boot();
    life.online();
    life.put("cube.3mf", archive(RED));
    for round in 1..=2 {
        life.start("cube.gcode").unwrap();
        life.until("preparing", |state| state.job.serial == round && state.job.phase == JobPhase::Preparing);
        world.fake.run(DeviceStage::Finished);
        life.until_phase(JobPhase::Complete);
        life.eventually("entry", || life.history().len() as u64 == round);
    }
    assert_eq!((world.starts(), world.uploads().as_slice()), (2, ["cube.gcode".to_owned()].as_slice()));
    assert!(world.deleted().is_empty());
    let tokens: Vec<u32> = world.fake.machine().starts.iter().map(|start| start.token).collect();
    assert_ne!(tokens[0], tokens[1]);
    world.fake.machine().files.clear();
    life.start("cube.gcode").unwrap();
    life.until("preparing", |state| state.job.serial == 3 && state.job.phase == JobPhase::Preparing);
    assert_eq!(world.uploads().len(), 2, "what the printer lost is sent again");
}
