//! The methods: one table from which JSON-RPC names and HTTP paths both come (moonraker.md 2.1).

pub mod access;
pub mod announcements;
pub mod backups;
pub mod connection;
pub mod database;
pub mod files;
pub mod history;
pub mod job_queue;
pub mod machine;
pub mod metadata;
pub mod objects;
pub mod peripherals;
pub mod printer;
pub mod records;
pub mod roots;
pub mod server;
pub mod spoolman;
pub mod timelapse;
pub mod webcams;
pub mod zip;

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::Method as HttpVerb;
use futures_util::future::BoxFuture;

use super::error::RpcError;
use super::rpc::{Call, Reply};
use crate::access::Role;

type Handler = fn(Call) -> BoxFuture<'static, Result<Reply, RpcError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Delete,
    /// Klipper's own endpoints take GET and POST.
    Either,
    /// Not on HTTP.
    Never,
}

impl Verb {
    pub fn takes(self, verb: &HttpVerb) -> bool {
        match self {
            Verb::Get => verb == HttpVerb::GET || verb == HttpVerb::HEAD,
            Verb::Post => verb == HttpVerb::POST,
            Verb::Delete => verb == HttpVerb::DELETE,
            Verb::Either => verb == HttpVerb::GET || verb == HttpVerb::POST,
            Verb::Never => false,
        }
    }
}

/// A row of the table.
pub struct Method {
    pub name: &'static str,
    pub verb: Verb,
    /// Empty where there is none.
    pub path: &'static str,
    /// Means something on a WebSocket only.
    pub socket_only: bool,
    /// Answered to strangers too.
    pub open: bool,
    /// What the caller must be allowed to.
    pub role: Role,
    /// 503 while the printer is away.
    pub needs_printer: bool,
    /// A refusal is told on the console too. Mainsail shows nobody the error of its buttons that call these: a file that
    /// was not renamed, a queue that did not start.
    pub told: bool,
    /// Its argument `value` is stored as it is: over JSON-RPC it comes as [`Call::record`].
    pub record: bool,
    pub run: Handler,
}

const ANYONE: u8 = 1;
const PRINTER: u8 = 2;
const SOCKET: u8 = 4;
/// Changes something at the printer, its files or what is kept for it.
const OPERATE: u8 = 8;
/// Users, keys, the server itself.
const ADMIN: u8 = 16;
/// Refusals are told on the console too.
const TOLD: u8 = 32;
/// Stores its argument `value`.
const RECORD: u8 = 64;
const PLAIN: u8 = 0;

macro_rules! table {
    ($($name:literal $verb:ident $path:literal $flags:expr => $($function:ident)::+;)*) => {
        &[$(Method {
            name: $name,
            verb: Verb::$verb,
            path: $path,
            socket_only: ($flags) & SOCKET != 0,
            open: ($flags) & ANYONE != 0,
            role: if ($flags) & ADMIN != 0 {
                Role::Admin
            } else if ($flags) & OPERATE != 0 {
                Role::Operate
            } else {
                Role::View
            },
            needs_printer: ($flags) & PRINTER != 0,
            told: ($flags) & TOLD != 0,
            record: ($flags) & RECORD != 0,
            run: |call| Box::pin(async { $($function)::+(call).await.map(Reply::from) }),
        }),*]
    };
}

static TABLE: &[Method] = table! {
    "server.info" Get "/server/info" PLAIN => server::info;
    "server.config" Get "/server/config" PLAIN => server::config;
    "server.restart" Post "/server/restart" ADMIN => server::restart;
    "server.logs.rollover" Post "/server/logs/rollover" ADMIN => server::rollover;
    "server.gcode_store" Get "/server/gcode_store" PLAIN => server::gcode_store;
    "server.temperature_store" Get "/server/temperature_store" PLAIN => server::temperature_store;
    "server.extensions.list" Get "/server/extensions/list" PLAIN => connection::extensions;
    "server.connection.identify" Never "" (SOCKET | ANYONE) => connection::identify;
    "server.websocket.id" Never "" SOCKET => connection::websocket_id;
    "connection.register_remote_method" Never "" (SOCKET | OPERATE) => connection::register_remote_method;
    "connection.send_event" Never "" (SOCKET | OPERATE) => connection::send_event;

    "printer.info" Either "/printer/info" PRINTER => printer::info;
    "printer.objects.list" Either "/printer/objects/list" PRINTER => objects::list;
    "printer.objects.query" Either "/printer/objects/query" PRINTER => objects::query;
    "printer.objects.subscribe" Either "/printer/objects/subscribe" PRINTER => objects::subscribe;
    "printer.gcode.script" Either "/printer/gcode/script" OPERATE => printer::script;
    "printer.gcode.help" Either "/printer/gcode/help" PRINTER => printer::help;
    "printer.print.start" Post "/printer/print/start" (PRINTER | OPERATE) => printer::start;
    "printer.print.pause" Post "/printer/print/pause" (PRINTER | OPERATE) => printer::pause;
    "printer.print.resume" Post "/printer/print/resume" (PRINTER | OPERATE) => printer::resume;
    "printer.print.cancel" Post "/printer/print/cancel" OPERATE => printer::cancel;
    "printer.emergency_stop" Either "/printer/emergency_stop" OPERATE => printer::emergency_stop;
    "printer.restart" Post "/printer/restart" OPERATE => printer::restart;
    "printer.firmware_restart" Post "/printer/firmware_restart" OPERATE => printer::restart;
    "printer.query_endstops.status" Either "/printer/query_endstops/status" PRINTER => printer::endstops;

    "server.files.roots" Get "/server/files/roots" PLAIN => files::roots;
    "server.files.list" Get "/server/files/list" PLAIN => files::list;
    "server.files.get_directory" Get "/server/files/directory" PLAIN => files::get_directory;
    "server.files.post_directory" Post "/server/files/directory" (OPERATE | TOLD) => files::post_directory;
    "server.files.delete_directory" Delete "/server/files/directory" (OPERATE | TOLD) => files::delete_directory;
    "server.files.metadata" Get "/server/files/metadata" PLAIN => metadata::metadata;
    "server.files.metascan" Post "/server/files/metascan" (OPERATE | TOLD) => metadata::metascan;
    "server.files.thumbnails" Get "/server/files/thumbnails" PLAIN => metadata::thumbnails;
    "server.files.move" Post "/server/files/move" (OPERATE | TOLD) => files::rename;
    "server.files.copy" Post "/server/files/copy" (OPERATE | TOLD) => files::copy;
    "server.files.delete_file" Never "" (OPERATE | TOLD) => files::delete_file;
    "server.files.zip" Post "/server/files/zip" (OPERATE | TOLD) => zip::zip;

    "server.database.list" Get "/server/database/list" PLAIN => database::list;
    "server.database.get_item" Get "/server/database/item" PLAIN => database::get_item;
    "server.database.post_item" Post "/server/database/item" (OPERATE | RECORD) => database::post_item;
    "server.database.delete_item" Delete "/server/database/item" OPERATE => database::delete_item;
    "server.database.compact" Post "/server/database/compact" OPERATE => backups::compact;
    "server.database.post_backup" Post "/server/database/backup" OPERATE => backups::post_backup;
    "server.database.delete_backup" Delete "/server/database/backup" OPERATE => backups::delete_backup;
    "server.database.restore" Post "/server/database/restore" OPERATE => backups::restore;

    "server.history.list" Get "/server/history/list" PLAIN => history::list;
    "server.history.get_job" Get "/server/history/job" PLAIN => history::get_job;
    "server.history.delete_job" Delete "/server/history/job" (OPERATE | TOLD) => history::delete_job;
    "server.history.totals" Get "/server/history/totals" PLAIN => history::totals;
    "server.history.reset_totals" Post "/server/history/reset_totals" (OPERATE | TOLD) => history::reset_totals;

    "server.job_queue.status" Get "/server/job_queue/status" PLAIN => job_queue::status;
    "server.job_queue.post_job" Post "/server/job_queue/job" (OPERATE | TOLD) => job_queue::post_job;
    "server.job_queue.delete_job" Delete "/server/job_queue/job" (OPERATE | TOLD) => job_queue::delete_job;
    "server.job_queue.pause" Post "/server/job_queue/pause" OPERATE => job_queue::pause;
    "server.job_queue.start" Post "/server/job_queue/start" OPERATE => job_queue::start;
    "server.job_queue.jump" Post "/server/job_queue/jump" (OPERATE | TOLD) => job_queue::jump;

    "server.spoolman.status" Get "/server/spoolman/status" PLAIN => spoolman::status;
    "server.spoolman.get_spool_id" Get "/server/spoolman/spool_id" PLAIN => spoolman::get_spool_id;
    "server.spoolman.post_spool_id" Post "/server/spoolman/spool_id" OPERATE => spoolman::post_spool_id;
    "server.spoolman.proxy" Post "/server/spoolman/proxy" PLAIN => spoolman::proxy;

    "server.webcams.list" Get "/server/webcams/list" PLAIN => webcams::list;
    "server.webcams.get_item" Get "/server/webcams/item" PLAIN => webcams::get_item;
    "server.webcams.post_item" Post "/server/webcams/item" (OPERATE | TOLD) => webcams::post_item;
    "server.webcams.delete_item" Delete "/server/webcams/item" (OPERATE | TOLD) => webcams::delete_item;
    "server.webcams.test" Post "/server/webcams/test" OPERATE => webcams::test;

    "server.announcements.list" Get "/server/announcements/list" PLAIN => announcements::list;
    "server.announcements.dismiss" Post "/server/announcements/dismiss" OPERATE => announcements::dismiss;
    "server.announcements.feeds" Get "/server/announcements/feeds" PLAIN => announcements::feeds;
    "server.announcements.update" Post "/server/announcements/update" OPERATE => announcements::update;

    "machine.timelapse.get_settings" Get "/machine/timelapse/settings" PLAIN => timelapse::get_settings;
    "machine.timelapse.post_settings" Post "/machine/timelapse/settings" (OPERATE | TOLD) => timelapse::post_settings;
    "machine.timelapse.lastframeinfo" Get "/machine/timelapse/lastframeinfo" PLAIN => timelapse::last_frame;
    "machine.timelapse.render" Post "/machine/timelapse/render" (OPERATE | TOLD) => timelapse::render;
    "machine.timelapse.saveframes" Post "/machine/timelapse/saveframes" (OPERATE | TOLD) => timelapse::save_frames;

    "machine.system_info" Get "/machine/system_info" PLAIN => machine::system_info;
    "machine.proc_stats" Get "/machine/proc_stats" PLAIN => machine::proc_stats;
    "machine.reboot" Post "/machine/reboot" ADMIN => machine::refused;
    "machine.shutdown" Post "/machine/shutdown" ADMIN => machine::refused;
    "machine.services.restart" Post "/machine/services/restart" ADMIN => machine::restart_service;
    "machine.services.start" Post "/machine/services/start" ADMIN => machine::refused;
    "machine.services.stop" Post "/machine/services/stop" ADMIN => machine::refused;

    "machine.peripherals.usb" Get "/machine/peripherals/usb" PLAIN => peripherals::usb;
    "machine.peripherals.serial" Get "/machine/peripherals/serial" PLAIN => peripherals::serial;
    "machine.peripherals.video" Get "/machine/peripherals/video" PLAIN => peripherals::video;
    "machine.peripherals.canbus" Get "/machine/peripherals/canbus" PLAIN => peripherals::canbus;
    "machine.update.status" Get "/machine/update/status" PLAIN => peripherals::update_status;
    "machine.update.refresh" Post "/machine/update/refresh" ADMIN => peripherals::update_refresh;
    "machine.sudo.info" Get "/machine/sudo/info" PLAIN => peripherals::sudo_info;
    "machine.device_power.devices" Get "/machine/device_power/devices" PLAIN => peripherals::power_devices;
    "machine.device_power.get_device" Get "/machine/device_power/device" PLAIN => peripherals::power_device;
    "machine.device_power.post_device" Post "/machine/device_power/device" OPERATE => peripherals::power_device;
    "machine.device_power.status" Get "/machine/device_power/status" PLAIN => peripherals::power_states;
    "machine.device_power.on" Post "/machine/device_power/on" OPERATE => peripherals::power_states;
    "machine.device_power.off" Post "/machine/device_power/off" OPERATE => peripherals::power_states;
    "server.sensors.list" Get "/server/sensors/list" PLAIN => peripherals::sensors;
    "server.sensors.info" Get "/server/sensors/info" PLAIN => peripherals::sensor;
    "server.sensors.measurements" Get "/server/sensors/measurements" PLAIN => peripherals::measurements;

    "access.info" Get "/access/info" ANYONE => access::info;
    "access.login" Post "/access/login" ANYONE => access::login;
    "access.refresh_jwt" Post "/access/refresh_jwt" ANYONE => access::refresh_jwt;
    "access.logout" Post "/access/logout" PLAIN => access::logout;
    "access.get_user" Get "/access/user" PLAIN => access::get_user;
    "access.post_user" Post "/access/user" ADMIN => access::post_user;
    "access.delete_user" Delete "/access/user" ADMIN => access::delete_user;
    "access.user.password" Post "/access/user/password" PLAIN => access::password;
    "access.users.list" Get "/access/users/list" PLAIN => access::list_users;
    "access.get_api_key" Get "/access/api_key" ADMIN => access::get_api_key;
    "access.post_api_key" Post "/access/api_key" ADMIN => access::post_api_key;
    "access.oneshot_token" Get "/access/oneshot_token" PLAIN => access::oneshot_token;
};

/// All rows.
#[cfg(test)]
pub fn all() -> &'static [Method] {
    TABLE
}

/// The method of a JSON-RPC name.
pub fn find(name: &str) -> Option<&'static Method> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Method>> =
        LazyLock::new(|| TABLE.iter().map(|method| (method.name, method)).collect());
    BY_NAME.get(name).copied()
}

/// The methods of one path, by verb.
pub struct PathMatch(pub &'static [&'static Method]);

/// The methods of an HTTP path; matching is exact (moonraker.md 2.1).
pub fn find_path(path: &str) -> Option<PathMatch> {
    static BY_PATH: LazyLock<HashMap<&'static str, Vec<&'static Method>>> = LazyLock::new(|| {
        let mut paths: HashMap<&str, Vec<&Method>> = HashMap::new();
        for method in TABLE.iter().filter(|method| !method.path.is_empty()) {
            paths.entry(method.path).or_default().push(method);
        }
        paths
    });
    BY_PATH.get(path).map(|methods| PathMatch(methods))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_paths() {
        for (at, method) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| other.name != method.name), "{} twice", method.name);
            if method.path.is_empty() {
                continue;
            }
            let dotted = method.path.trim_start_matches('/').replace('/', ".");
            let same_path = TABLE.iter().filter(|other| other.path == method.path).count();
            let (stem, last) = dotted.rsplit_once('.').expect("two words");
            let verb = format!("{:?}", method.verb).to_lowercase();
            let with_verb = format!("{stem}.{verb}_{last}");
            assert!(
                method.name == dotted || (method.name == with_verb),
                "{} at {}",
                method.name,
                method.path
            );
            assert!(same_path == 1 || method.name == with_verb, "{} needs its verb", method.name);
        }
    }
}
