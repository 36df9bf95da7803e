//! Every method and route that a client of the matrix uses is answered, or belongs to a component that is not
//! advertised (moonraker.md section 1).

use reqwest::Method;
use serde_json::{Value, json};

use super::room::Room;
use crate::front::moonraker::identity;

/// The matrix, row by row.
const METHODS: &str = "\
    server.connection.identify connection.register_remote_method connection.send_event server.websocket.id \
    server.info server.config server.logs.rollover server.gcode_store server.temperature_store \
    server.webcams.list server.webcams.get_item server.webcams.post_item server.webcams.delete_item \
    server.announcements.list server.announcements.dismiss server.extensions.list printer.info \
    printer.objects.list printer.objects.query printer.objects.subscribe printer.gcode.script \
    printer.gcode.help printer.print.start printer.print.pause printer.print.resume printer.print.cancel \
    printer.query_endstops.status server.files.roots server.files.list server.files.get_directory \
    server.files.metadata server.files.thumbnails server.files.metascan server.files.post_directory \
    server.files.delete_directory server.files.move server.files.copy server.files.delete_file \
    server.files.zip server.database.list server.database.get_item server.database.post_item \
    server.database.delete_item server.database.compact server.database.post_backup \
    server.database.delete_backup server.history.list server.history.totals server.history.get_job \
    server.history.delete_job server.history.reset_totals server.job_queue.status server.job_queue.post_job \
    server.job_queue.delete_job server.job_queue.pause server.job_queue.start server.job_queue.jump \
    machine.system_info machine.proc_stats machine.update.status machine.update.refresh \
    machine.update.client machine.update.full machine.update.recover machine.update.system \
    machine.services.start machine.services.stop machine.services.restart machine.reboot machine.shutdown \
    machine.device_power.devices machine.device_power.post_device machine.device_power.get_device \
    machine.device_power.on machine.device_power.off machine.device_power.status machine.peripherals.usb \
    machine.peripherals.serial machine.peripherals.video machine.peripherals.canbus machine.sudo.info \
    server.spoolman.status server.spoolman.get_spool_id server.spoolman.post_spool_id server.spoolman.proxy \
    server.sensors.list server.sensors.info server.sensors.measurements \
    machine.timelapse.get_settings machine.timelapse.post_settings machine.timelapse.lastframeinfo \
    machine.timelapse.render machine.timelapse.saveframes \
    server.analysis.status access.info access.login access.logout \
    access.refresh_jwt access.get_user access.users.list access.user.password access.post_user \
    access.delete_user access.get_api_key access.oneshot_token printer.emergency_stop printer.restart \
    printer.firmware_restart server.database.restore server.restart";

/// Components that are left out, and the first words of their methods.
const LEFT_OUT: &[(&str, &str)] = &[
    // Until an inventory is configured.
    ("spoolman", "server.spoolman."),
    ("update_manager", "machine.update.client"),
    ("update_manager", "machine.update.full"),
    ("update_manager", "machine.update.recover"),
    ("update_manager", "machine.update.system"),
    ("analysis", "server.analysis."),
];

/// What only HTTP has: verb, path, status.
const ROUTES: &[(&str, &str, u16)] = &[
    ("GET", "/server/files/moonraker.log", 200),
    ("GET", "/server/files/klippy.log", 200),
    ("GET", "/server/files/gcodes/missing.gcode", 404),
    ("POST", "/server/files/upload", 400),
    ("DELETE", "/server/files/gcodes/missing.gcode", 400),
    ("POST", "/server/jsonrpc", 400),
    ("GET", "/api/version", 200),
    ("GET", "/api/server", 200),
    ("GET", "/api/job", 200),
    ("GET", "/api/printer", 200),
    ("GET", "/api/settings", 200),
    ("POST", "/api/login", 200),
    ("GET", "/api/currentuser", 200),
    ("GET", "/api/printerprofiles", 200),
    ("POST", "/api/files/local", 400),
    ("GET", "/api/printer/command/custom", 200),
    ("POST", "/api/printer/command", 200),
];

#[tokio::test]
async fn every_method_of_the_matrix_is_answered() {
    let room = Room::open().await;
    for name in METHODS.split_whitespace() {
        // Some of them end the connection or the printer's service.
        let mut socket = room.socket().await;
        let answer = socket.ask(name, json!({})).await;
        let unknown = answer["error"]["message"] == "Method not found";
        let left_out = LEFT_OUT.iter().find(|(_, words)| name.starts_with(words));
        match left_out {
            Some((component, _)) => {
                assert!(unknown, "{name}: {answer}");
                assert!(!identity::COMPONENTS.contains(component), "{component} is advertised");
            }
            None => assert!(!unknown, "{name}: {answer}"),
        }
        let code = answer["error"]["code"].as_i64().unwrap_or(0);
        assert!(code < 500, "{name}: {answer}");
    }
}

#[tokio::test]
async fn every_route_of_the_matrix_is_answered() {
    let room = Room::open().await;
    for (verb, path, status) in ROUTES {
        let verb = Method::from_bytes(verb.as_bytes()).unwrap();
        let answer = reqwest::Client::new().request(verb, room.url(path)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), *status, "{path}");
        if *status >= 400 {
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body["error"]["code"], *status, "{path}: errors are JSON everywhere");
        }
    }
}
