"use strict";
const EVERY = 1000, PICTURE_EVERY = 5000, ACTIVITY_EVERY = 3000, ACTIVITY_SHOWN = 60;
/** A browser opens six connections to one server. Cameras that are slow to show something must leave some to the status. */
const PICTURES_AT_ONCE = 3, PICTURE_PATIENCE = 25000, PICTURE_TURN = 400;
const byId = id => document.getElementById(id);

/** An element with classes and children; texts are never taken for markup. */
function make(tag, classes, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== ""));
  return element;
}
/** A live region is read out again whenever it is written, whether or not it says something else. */
function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
/** What somebody named, in the direction of its own writing: signs and numbers beside Arabic or Hebrew change places otherwise. */
function named(tag, classes, text) {
  const element = make(tag, classes, text);
  element.dir = "auto";
  return element;
}
function link(text, href, title) {
  const a = make("a", "", text);
  a.href = href;
  if (title) a.title = title;
  return a;
}
const plain = word => word.replaceAll("_", " ");
const whole = value => Math.round(value);
function duration(s) {
  if (s == null) return null;
  if (s < 60) return whole(s) + " s";
  const minutes = Math.round(s / 60);
  return minutes < 60 ? minutes + " min" : Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " min";
}
const ACTIVE = ["transferring", "starting", "preparing", "printing", "pausing", "paused", "resuming", "cancelling"];

function badge(p) {
  if (p.link !== "online") {
    const wrong = p.link_fault || p.link === "backoff";
    const tone = p.link === "stale" ? "warn" : wrong ? "bad" : "";
    return make("span", "badge " + tone, p.link === "backoff" ? "no connection" : plain(p.link));
  }
  const phase = p.job.phase;
  if (p.halted && !ACTIVE.includes(phase)) return make("span", "badge bad", "halted");
  const tone = phase === "failed" ? "bad" : phase.startsWith("paus") ? "warn" : ACTIVE.includes(phase) ? "busy" : "good";
  return make("span", "badge " + tone, plain(phase));
}
function temperature(name, heater) {
  if (heater == null || heater.actual == null) return null;
  const goal = heater.target ? make("span", "goal dim", "to " + whole(heater.target) + " °C") : null;
  return make("div", goal ? "temp hot" : "temp", make("div", "dim", name),
    make("b", "", whole(heater.actual) + " °C"), goal ? " " : null, goal);
}
function temperatures(p) {
  const many = p.nozzles.length > 1;
  const cells = p.nozzles.map((heater, tool) =>
    temperature(many ? "Nozzle " + (tool + 1) + (tool === p.active_tool ? " •" : "") : "Nozzle", heater));
  cells.push(temperature("Bed", p.bed), temperature("Chamber", p.chamber));
  return cells.some(cell => cell) ? make("div", "temps", cells) : null;
}
function job(p, base) {
  const j = p.job;
  if (j.phase === "idle" || !j.title) return null;
  const bar = document.createElement("progress");
  const sending = j.phase === "transferring" && j.transfer && j.transfer.total;
  bar.value = sending ? j.transfer.sent / j.transfer.total : j.progress;
  bar.setAttribute("aria-label", sending ? "transfer" : "progress");
  const active = ACTIVE.includes(j.phase);
  const figures = [
    sending ? "sending it to the printer" : null,
    j.layer == null ? null : "layer " + j.layer + (j.total_layers ? " of " + j.total_layers : ""),
    active && j.remaining_s ? duration(j.remaining_s) + " left" : null,
    j.elapsed_s ? duration(j.elapsed_s) + (active ? " so far" : " in all") : null,
  ].filter(Boolean).map(text => make("span", "", text));
  const words = make("div", "words", named("div", "title", j.title),
    make("div", "part", bar, make("b", "", Math.floor(bar.value * 100) + " %")), make("div", "figures", figures),
    j.detail ? make("div", "dim", j.detail) : null, j.reason ? make("div", "dim", j.reason) : null);
  const picture = j.thumbnail ? kept(p.name + " thumbnail " + j.thumbnail, () => {
    const image = make("img", "thumbnail");
    image.alt = "";
    image.src = base + j.thumbnail;
    return image;
  }) : null;
  return make("div", picture ? "job" : "job bare", picture, words);
}
function slot(s) {
  const empty = s.present === false || (!s.material && !s.colors.length);
  const dot = make("i");
  if (s.colors.length === 1) dot.style.background = s.colors[0];
  if (s.colors.length > 1) dot.style.background = "linear-gradient(90deg," + s.colors.join(",") + ")";
  const rest = s.remaining == null || empty ? "" : " " + whole(s.remaining * 100) + " %";
  const chip = make("span", "slot" + (s.active ? " active" : "") + (empty ? " empty" : ""), dot,
    (s.material || (s.present === false ? "empty" : "unknown")) + rest);
  chip.title = ["slot " + s.id, s.name, s.colors.join(" "), s.active ? "in use" : ""].filter(Boolean).join(", ");
  return chip;
}
function filament(p) {
  const units = p.filament.units.map(unit => make("div", "unit", make("span", "dim",
    [unit.name, unit.product && unit.product !== unit.name ? unit.product : null,
      unit.humidity_percent != null ? "humidity " + whole(unit.humidity_percent) + " %"
        : unit.dryness_level != null ? "dryness " + unit.dryness_level + " of 5" : null]
      .filter(Boolean).join(", ")), unit.slots.map(slot)));
  const outside = p.filament.external.filter(s => s.material || s.colors.length || s.active);
  if (outside.length) units.push(make("div", "unit", make("span", "dim", "External spool"), outside.map(slot)));
  return units.length ? make("div", "filament", units) : null;
}
function note(tone, text, remedy, code, more) {
  return make("div", "note " + tone, text, " ", code ? make("code", "", code) : null,
    remedy ? make("span", "remedy", remedy) : null, more ? " " : null, more);
}
function notes(p) {
  const list = [];
  if (p.link_fault) {
    list.push(note("bad", p.link_fault.text, p.link_fault.remedy, p.link_fault.code, make("span", "wait dim")));
  }
  if (p.read_only) list.push(note("warn", p.read_only));
  if (p.occupation) list.push(note("", "The printer is " + p.occupation + "."));
  if (p.held) list.push(note("bad", p.held));
  for (const fault of p.faults) {
    const help = fault.link && /^https?:/.test(fault.link) ? link("what to do", fault.link) : null;
    if (help) help.className = "act";
    const tone = fault.severity === "fatal" || fault.severity === "serious" ? "bad" : fault.severity === "warning" ? "warn" : "";
    list.push(note(tone, (fault.module ? fault.module + ": " : "") + fault.text, null, fault.code, help));
  }
  if (p.camera_blocked) list.push(note("warn", "Camera: " + p.camera_blocked));
  return list;
}

/** Pictures survive the redrawing of their card, so that nothing flickers. */
const pictures = new Map();
function kept(key, create) {
  if (!pictures.has(key)) pictures.set(key, create());
  return pictures.get(key);
}
let picturesOnTheWay = 0;
function camera(p, base) {
  if (!p.camera || p.camera_blocked || p.link !== "online") return null;
  const key = p.name + " camera";
  return kept(key, () => {
    const image = make("img", "camera"), view = make("div", "view dark", image, make("div", "eye"));
    image.alt = "Camera of " + p.title;
    image.hidden = true;
    let patience = null;
    const shown = seen => {
      image.hidden = !seen;
      view.classList.toggle("dark", !seen);
      if (patience === null) return;
      clearTimeout(patience);
      patience = null;
      picturesOnTheWay -= 1;
      setTimeout(fetchStill, PICTURE_EVERY);
    };
    image.onload = () => shown(true);
    image.onerror = () => shown(false);
    const fetchStill = () => {
      if (pictures.get(key) !== view) return;
      if (document.hidden || picturesOnTheWay >= PICTURES_AT_ONCE) {
        setTimeout(fetchStill, PICTURE_TURN);
        return;
      }
      picturesOnTheWay += 1;
      patience = setTimeout(shown, PICTURE_PATIENCE, false);
      image.src = base + "webcam/?action=snapshot&time=" + Date.now();
    };
    setTimeout(fetchStill, 0);
    return view;
  });
}
/** The camera in a few words: this changes with every look and redraws nothing. */
function sight(eye) {
  if (!eye) return "";
  const age = eye.last_frame_age;
  const parts = [eye.open ? eye.fps.toFixed(1) + " fps" : eye.reason ? "Camera: " + eye.reason : "camera closed"];
  if (age != null && age >= 2) parts.push("picture of " + duration(age) + " ago");
  if (eye.viewers) parts.push(eye.viewers + (eye.viewers === 1 ? " viewer" : " viewers"));
  return parts.join(", ");
}
/** What to enter in other programs, to be marked and copied. */
function addresses(p, base) {
  const at = new URL(base, location.href);
  const rows = [
    p.moonraker_port && !proxied ? ["Moonraker", location.hostname + ":" + p.moonraker_port] : null,
    ["below this port", at.href.replace(/\/$/, "")],
    p.serial_port ? ["serial port", p.serial_port] : null,
    p.camera ? ["camera", at.href + "webcam/?action=stream"] : null,
  ].filter(Boolean);
  const list = make("dl", "", rows.map(([what, value]) => [make("dt", "", what), make("dd", "", value)]));
  const details = make("details", "", make("summary", "", "addresses for other programs"), list);
  details.open = opened.has(p.name);
  details.ontoggle = () => { if (details.isConnected) details.open ? opened.add(p.name) : opened.delete(p.name); };
  return details;
}
const opened = new Set();
const STRANGER = "The gateway wants a login: this browser's address is not in trusted_clients of its configuration, or "
  + "force_logins is set there"
  + (/^[\d.]+$|:/.test(location.hostname) ? "" : ", or cors_domains lacks \"" + location.origin + "\"")
  + ". The users are those of Mainsail and Fluidd.";
/** A reverse proxy leads to this page: the printers' own ports are not reached under its name. */
let proxied = false;
function parts(p) {
  const base = "printers/" + encodeURIComponent(p.name) + "/";
  const about = [p.vendor, p.model, p.firmware].filter(Boolean).join(" ");
  const head = make("header", "", make("div", "", named("h2", "", p.title), make("div", "dim", about)), badge(p));
  const direct = p.moonraker_port && !proxied ? location.protocol + "//" + location.hostname + ":" + p.moonraker_port + "/" : null;
  const foot = make("footer", "", make("div", "links",
    direct ? link("port " + p.moonraker_port, direct, "For Mainsail, Home Assistant and others that want host and port") : null,
    link(base, base, "For Fluidd, slicers and others that take a path"),
    link("history", base + "server/history/list"), link("activity", "activity?printer=" + encodeURIComponent(p.name))),
    addresses(p, base));
  const away = p.link !== "online" && p.link !== "stale";
  const values = [temperatures(p), filament(p)];
  if (away) values.forEach(part => part && part.classList.add("away"));
  // What needs the user stands above what only informs.
  return [camera(p, base), head, notes(p), values[0], job(p, base), values[1], foot].flat().filter(Boolean);
}
/** Puts new parts where they say something else. What stays keeps the focus, and what is marked in it to be copied. */
function lay(element, p) {
  const focus = focusable(element).indexOf(document.activeElement);
  element.id = "printer-" + p.name;
  // Links of one word are told apart by the printer that they stand under.
  element.setAttribute("aria-label", p.title);
  const fresh = parts(p);
  fresh.forEach((part, place) => {
    const there = element.children[place];
    if (!there) element.append(part);
    else if (there !== part && !there.isEqualNode(part)) there.replaceWith(part);
  });
  while (element.children.length > fresh.length) element.lastElementChild.remove();
  if (focus >= 0 && !element.contains(document.activeElement)) focusable(element)[focus]?.focus();
}

let ahead = 0;
const now = () => Date.now() / 1000 + ahead;
/** By printer: its card, and what it was drawn from. */
let drawn = new Map();
const restless = (key, value) =>
  key === "report_age_s" ? undefined : key === "camera_health" ? Boolean(value) : value;
const focusable = element => [...element.querySelectorAll("a, summary")];
function draw(printers) {
  const fleet = byId("fleet"), before = drawn;
  drawn = new Map();
  printers.forEach((p, place) => {
    const text = JSON.stringify(p, restless);
    const old = before.get(p.name);
    const element = old ? old.element : make("article");
    if (!old || old.text !== text) lay(element, p);
    if (fleet.children[place] !== element) fleet.insertBefore(element, fleet.children[place] ?? null);
    const eye = element.querySelector(".eye");
    if (eye) tell(eye, sight(p.camera_health));
    const wait = element.querySelector(".wait");
    if (wait) tell(wait, p.retry_at && now() < p.retry_at ? "Next try in " + duration(p.retry_at - now()) + "." : "");
    drawn.set(p.name, { text, element });
  });
  while (fleet.children.length > printers.length) fleet.lastElementChild.remove();
  for (const [key, picture] of pictures) if (!picture.isConnected) pictures.delete(key);
}
/** An answer of the gateway itself: it is there, and says why it does not tell. */
class Refusal extends Error {}
/** It does not know who asks. */
class Stranger extends Refusal {}
async function ask(path, options) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(10000), cache: "no-store", ...options });
  if (answer.ok) return answer.json();
  if (answer.status === 401) throw new Stranger(STRANGER);
  const reason = await answer.json().then(body => body.error.message).catch(() => null);
  // A proxy says in a page of its own that it has no answer to pass on.
  throw reason ? new Refusal("The gateway refuses: " + reason) : new Error("HTTP status " + answer.status + ".");
}
const count = (number, word) => number + " " + word;
let looks = 0;
async function look() {
  const mine = ++looks;
  try {
    const status = await ask("status");
    if (mine !== looks) return;
    welcome(true);
    ahead = status.time - Date.now() / 1000;
    const state = status.state_fault;
    tell(byId("trouble"), state ? state.text + " " + state.remedy + " (" + state.code + ")" : "");
    proxied = status.behind_proxy;
    const away = status.printers.filter(p => p.link !== "online").length;
    const faulty = status.printers.filter(p => p.faults.length || p.job.phase === "failed").length;
    tell(byId("summary"), [
      count(status.printers.length, status.printers.length === 1 ? "printer" : "printers"),
      count(status.printers.filter(p => ACTIVE.includes(p.job.phase)).length, "busy"),
      faulty ? count(faulty, "with a fault") : null, away ? count(away, "not connected") : null,
      "version " + status.version,
    ].filter(Boolean).join(" · "));
    draw(status.printers);
  } catch (error) {
    if (mine !== looks) return;
    if (error instanceof Stranger) return welcome(false);
    tell(byId("trouble"), error instanceof Refusal ? error.message
      : "The gateway does not answer; what is shown may be old. " + error.message);
    if (!drawn.size) tell(byId("summary"), "");
  }
}
async function show() {
  if (!document.hidden) await look();
  setTimeout(show, EVERY);
}

/**
 * Who is logged in is known by a cookie that this script cannot read, so that nothing that ever ran here could take it along;
 * it lets the page look, and nothing more.
 */
const login = byId("login"), form = login.querySelector("form"), refused = form.querySelector(".refused");
/** Shows the printers, or the way in; then nothing stays of what was shown before. */
function welcome(known) {
  if (known === login.hidden) return;
  login.hidden = known;
  document.body.classList.toggle("stranger", !known);
  if (known) return;
  draw([]);
  listed = "";
  byId("activity").open = false;
  byId("activity").querySelector("tbody").replaceChildren();
  tell(byId("trouble"), "");
  tell(byId("summary"), "");
  tell(form.querySelector(".why"), STRANGER);
  if (document.activeElement === document.body) form.username.focus();
}
/** The name of who is logged in by the cookie; null for callers who need none. */
async function whoLooks() {
  const { username } = await ask("session");
  const button = byId("logout");
  button.hidden = !username;
  button.textContent = "log out " + username;
  button.title = "Ends all logins of " + username + ", in other programs too";
  return username;
}
form.onsubmit = async event => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  tell(refused, "");
  try {
    await ask("session", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ username: form.username.value, password: form.password.value }),
    });
    if (!await whoLooks()) throw new Refusal("This browser keeps no cookie of the gateway: allow cookies for this address.");
    form.reset();
    await look();
  } catch (error) {
    tell(refused, error instanceof Refusal ? error.message : "The gateway does not answer. " + error.message);
    form.password.select();
  } finally {
    button.disabled = false;
  }
};
byId("logout").onclick = async () => {
  try {
    await ask("session", { method: "DELETE" });
    await whoLooks();
  } catch (error) {
    tell(byId("trouble"), "Still logged in. " + error.message);
  }
  await look();
};

function moment(time) {
  const at = new Date(time * 1000);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}
let listed = "";
/** The newest entry first; read only while the list is open. */
async function showActivity() {
  if (!byId("activity").open) return;
  if (!document.hidden) {
    try {
      const entries = await ask("activity?limit=" + ACTIVITY_SHOWN);
      // What is marked to be copied stays marked while nothing happens.
      const text = JSON.stringify(entries);
      if (text !== listed) byId("activity").querySelector("tbody").replaceChildren(...entries.reverse().map(entry => make("tr", entry.what,
        make("td", "time", moment(entry.time)), make("td", "", entry.printer),
        make("td", "", entry.what), named("td", "", entry.text))));
      listed = text;
    } catch {
      // The banner of the status says that the gateway is gone.
    }
  }
  setTimeout(showActivity, ACTIVITY_EVERY);
}
byId("activity").ontoggle = showActivity;
// A gateway that does not answer is told by the look at the status.
whoLooks().catch(() => {});
show();
