"""Two printers that are none, written apart from the gateway and its simulators: they answer what the captures show.

`SdcpPrinter` is a Centauri Carbon of `websockets` and the standard library's HTTP server; `RpcPrinter` is a Centauri
Carbon 2 of Debian's mosquitto, a script, and an HTTP server. A request that the dossier's list does not allow, or whose
payload is not exactly one of its forms, is written down in `offences`; the first kind breaks its connection as well,
because the real machine does not survive it.
"""

import asyncio
import copy
import email.parser
import email.policy
import hashlib
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import paho.mqtt.client as mqtt
import websockets

from harness import process
from harness.waiting import wait_for

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "elegoo"
CHUNK = 1 << 20


def fixture(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())


def table(**keys):
    """The printer's part of a gateway's configuration."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"host": "127.0.0.1", "camera_port": 9, **keys}.items()]
    return "\n".join(["[[printer]]", *lines]) + "\n"


class Web:
    """An HTTP server in a thread; `answer(handler)` gives status and JSON."""

    def __init__(self, method, answer):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self):
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, reply = answer(self)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        setattr(Handler, f"do_{method}", Handler.respond)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Discovery:
    """Answers one datagram with one other."""

    def __init__(self, asked, reply):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked, self.reply = asked, json.dumps(reply).encode()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                data, sender = self.socket.recvfrom(2048)
            except OSError:
                return
            if data == self.asked:
                self.socket.sendto(self.reply, sender)

    def close(self):
        self.socket.close()


def integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def keys(data, *wanted):
    return set(data) == set(wanted)


def start_form(data):
    plain = {key: value for key, value in data.items() if key != "slot_map"}
    flags = ("Calibration_switch", "PrintPlatformType", "Tlp_Switch")
    return (keys(plain, "Filename", "StartLayer", *flags) and plain["Filename"].startswith("/local/")
            and plain["StartLayer"] == 0 and all(plain[flag] in (0, 1) for flag in flags))


def parameter_form(data):
    if len(data) != 1:
        return False
    (key, value), = data.items()
    if key in ("TempTargetNozzle", "TempTargetHotbed"):
        return integer(value)
    if key == "TargetFanSpeed":
        return value and set(value) <= {"ModelFan", "AuxiliaryFan", "BoxFan"} and all(map(integer, value.values()))
    if key == "LightStatus":
        return keys(value, "SecondLight", "RgbLight") and len(value["RgbLight"]) == 3
    return key == "PrintSpeedPct" and value in (50, 100, 130, 160)


# The dossier's table of what may be sent (2.9), each with its form; nothing else.
FORMS = {
    0: lambda data: data == {},
    1: lambda data: data == {},
    128: start_form,
    129: lambda data: data == {},
    130: lambda data: data == {},
    131: lambda data: data == {},
    258: lambda data: data == {"Url": "/local"},
    259: lambda data: keys(data, "FileList", "FolderList") and all(f.startswith("/local/") for f in data["FileList"]),
    320: lambda data: data == {},
    321: lambda data: keys(data, "Id") and all(isinstance(item, str) for item in data["Id"]),
    386: lambda data: data in ({"Enable": 0}, {"Enable": 1}),
    402: lambda data: data.get("Axis") in ("X", "Y", "Z", "XY", "XYZ"),
    403: parameter_form,
    512: lambda data: keys(data, "TimePeriod"),
}


class SdcpPrinter:
    """Status frames are the captured ones; what a command changes is changed in them."""

    model, kind = "replayed-cc1", "elegoo_cc1"

    def __init__(self):
        self.offences, self.received, self.files = [], [], {"cube.gcode": b"; cube\n"}
        self.idle, self.printing = fixture("captured/cc1-status-stopped-8"), fixture("captured/cc1-status-printing-13")
        self.idle["Status"]["PrintInfo"]["Status"] = 0
        self.status = copy.deepcopy(self.idle)
        self.board = self.idle["MainboardID"]
        self.checking, self.transfer, self.connections = [], None, 0

    def __enter__(self):
        self.web = Web("POST", self._upload)
        self.discovery = Discovery(b"M99999", fixture("assembled/cc1-discovery-reply"))
        self.loop, ready = asyncio.new_event_loop(), threading.Event()

        async def serve():
            self.server = await websockets.serve(self._converse, "127.0.0.1", 0, ping_interval=None)
            self.port = self.server.sockets[0].getsockname()[1]
            ready.set()

        def run():
            self.loop.create_task(serve())
            self.loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.call_later, 0.2, self.loop.stop)
        self.web.close()
        self.discovery.close()

    def config(self):
        return table(name=self.model, kind=self.kind, websocket_port=self.port, http_port=self.web.port,
                     discovery_port=self.discovery.port)

    def commands(self, number):
        return [data for command, data in self.received if command == number]

    async def _converse(self, peer):
        self.connections += 1
        if peer.request.path != "/websocket":
            self.offences.append(f"path {peer.request.path}")
        async for text in peer:
            if text == "ping":
                await peer.send("pong")
                continue
            request = json.loads(text)
            inner = request["Data"]
            command, data = inner["Cmd"], inner["Data"]
            self.received.append((command, data))
            known = FORMS.get(command)
            if known is None or not known(data) or request["Topic"] != f"sdcp/request/{self.board}":
                self.offences.append(text)
                await peer.close()
                return
            if self.status["Status"]["CurrentStatus"] == [1] and command in (128, 401, 402):
                self.offences.append(f"in mid-print: {text}")
            for frame in self._answer(command, data, inner["RequestID"]):
                await peer.send(json.dumps(frame))

    def _answer(self, command, data, request):
        reply = copy.deepcopy(fixture("captured/cc1-response-status-0-ack"))
        reply["Data"].update({"Cmd": command, "RequestID": request, "MainboardID": self.board})
        reply["Data"]["Data"] = {"Ack": 0, **self._act(command, data)}
        yield reply
        if command == 0:
            yield self._status_now()
        if command == 1:
            yield fixture("assembled/cc1-attributes-push")

    def _act(self, command, data):
        info = self.status["Status"]["PrintInfo"]
        if command == 128:
            name = data["Filename"].removeprefix("/local/")
            if name not in self.files:
                return {"Ack": 2}
            self.status = copy.deepcopy(self.printing)
            self.status["Status"]["PrintInfo"].update({"Filename": name, "TaskId": f"run-{len(self.commands(128))}"})
        elif command in (129, 130, 131):
            if self.status["Status"]["CurrentStatus"] != [1]:
                return {"Ack": 1}
            info["Status"] = {129: 6, 131: 13, 130: 8}[command]
            if command == 130:
                self.status = copy.deepcopy(self.idle)
                self.status["Status"]["PrintInfo"]["Status"] = 8
        elif command == 258:
            return {"FileList": [{"name": f"/local/{name}", "FileSize": len(content), "TotalLayers": 0, "LayerHeight": 0,
                                  "EstFilamentLength": 0, "CreateTime": 1752338900, "type": 1}
                                 for name, content in self.files.items()]}
        elif command == 259:
            for path in data["FileList"]:
                self.files.pop(path.removeprefix("/local/"), None)
        elif command == 321:
            return {"HistoryDetailList": []}
        elif command == 403:
            self.status["Status"].update({key: value for key, value in data.items() if key.startswith("TempTarget")})
        return {}

    def _status_now(self):
        """After an upload 2 and then 8 are shown, a few reports each."""
        frame = copy.deepcopy(self.status)
        if self.checking:
            frame["Status"]["CurrentStatus"] = [self.checking.pop(0)]
        return frame

    def _upload(self, web):
        head = f"Content-Type: {web.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + web.body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        if web.path != "/uploadFile/upload" or list(parts) != ["Check", "S-File-MD5", "Offset", "Uuid", "TotalSize", "File"]:
            self.offences.append(f"upload {web.path} {list(parts)}")
            return 200, {"code": "111111", "messages": [{"field": "common_field", "message": -4}], "data": None, "success": False}
        text = {name: part.get_payload(decode=True).decode() for name, part in parts.items() if name != "File"}
        piece, name = parts["File"].get_payload(decode=True), parts["File"].get_filename()
        offset, size = int(text["Offset"]), int(text["TotalSize"])
        if offset == 0:
            self.transfer = (text["Uuid"], text["S-File-MD5"], b"")
        uuid, md5, held = self.transfer
        if (uuid, md5, offset) != (text["Uuid"], text["S-File-MD5"], len(held)) or len(piece) > CHUNK or "/" in name:
            self.offences.append(f"chunk {text} of {len(piece)} for {name}")
            return 200, fixture("assembled/cc1-http-upload-error-offset")
        self.transfer = (uuid, md5, held + piece)
        if len(held) + len(piece) == size:
            if hashlib.md5(held + piece).hexdigest() != md5:
                self.offences.append("the MD5 is not that of the whole file")
            self.files[name] = held + piece
            self.checking = [2, 2, 8, 8]
        return 200, fixture("assembled/cc1-http-upload-ok")


# Methods the gateway may use (3.6), never the ones about access codes, firmware and its own kind of detection.
METHODS = {1001, 1002, 1007, *range(1020, 1037), 1044, 1046, 1047, 1048, *range(2001, 2006)}
CODE = "123456"


class RpcPrinter:
    """mosquitto keeps the rules of MQTT and who may read what; the script behind it answers."""

    model, kind = "replayed-cc2", "elegoo_cc2"

    def __init__(self):
        self.offences, self.received, self.files = [], [], {"cube.gcode": b"; cube\n"}
        self.serial = fixture("assembled/cc2-discovery-reply")["result"]["sn"]
        self.idle = fixture("captured/cc2-1002-status-idle")["result"]
        self.printing = fixture("captured/cc2-1002-status-printing")["result"]
        self.status, self.registered, self.pings, self.deltas = copy.deepcopy(self.idle), set(), 0, 0
        self.times = []

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="moongate-rpc-"))
        self.port = process.free_port()
        self.web = Web("PUT", self._upload)
        self.discovery = Discovery(b'{"id":0,"method":7000}', fixture("assembled/cc2-discovery-reply"))
        passwords, rights = self.folder / "passwords", self.folder / "rights"
        for user, options in (("elegoo", ["-b", "-c"]), ("machine", ["-b"])):
            subprocess.run(["mosquitto_passwd", *options, passwords, user, CODE], check=True, capture_output=True)
        own = f"elegoo/{self.serial}"
        rights.write_text(
            f"user elegoo\ntopic write {own}/api_register\ntopic write {own}/+/api_request\n"
            f"topic read {own}/+/api_response\ntopic read {own}/api_status\ntopic read {own}/+/register_response\n"
            f"user machine\ntopic readwrite {own}/#\n"
        )
        config = self.folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
                          f"acl_file {rights}\nuser root\npersistence false\n")
        self.broker = process.start(["/usr/sbin/mosquitto", "-c", config], "rpc-mosquitto.log")
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="machine")
        self.client.username_pw_set("machine", CODE)
        subscribed = threading.Event()
        self.client.on_connect = lambda *_: self.client.subscribe([(f"{own}/api_register", 1), (f"{own}/+/api_request", 1)])
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _client, _user, message: self._received(message)
        wait_for(lambda: self.client.connect("127.0.0.1", self.port) == mqtt.MQTT_ERR_SUCCESS, "mosquitto answers", 10)
        self.client.loop_start()
        assert subscribed.wait(10)
        return self

    def __exit__(self, *_):
        self.client.loop_stop()
        process.stop(self.broker)
        self.web.close()
        self.discovery.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def config(self):
        return table(name=self.model, kind=self.kind, mqtt_port=self.port, http_port=self.web.port,
                     discovery_port=self.discovery.port, access_code=CODE)

    def commands(self, number):
        return [params for method, params in self.received if method == number]

    def _send(self, topic, payload):
        self.client.publish(f"elegoo/{self.serial}/{topic}", json.dumps(payload), 1)

    def _received(self, message):
        body, parts = json.loads(message.payload), message.topic.split("/")
        if parts[2] == "api_register":
            self.registered.add(body["client_id"])
            answer = {**fixture("assembled/cc2-register-response-ok"), "client_id": body["client_id"]}
            self._send(f"{body['request_id']}/register_response", answer)
            return
        client = parts[2]
        if body == fixture("captured/cc2-ping"):
            self.pings += 1
            self._send(f"{client}/api_response", fixture("captured/cc2-pong"))
            return
        if client not in self.registered:
            return
        number, method, params = body["id"], body["method"], body["params"]
        self.received.append((method, params))
        self.times.append(time.monotonic())
        if method not in METHODS or set(body) != {"id", "method", "params"}:
            self.offences.append(body)
            result = {"error_code": 1001}
        else:
            result = self._act(method, params)
        self._send(f"{client}/api_response", {"id": number, "method": method, "result": {"error_code": 0, **result}})

    def _act(self, method, params):
        machine = self.status["machine_status"]
        if method == 1001:
            return fixture("assembled/cc2-1001-attributes")["result"]
        if method == 1002:
            return self.status
        if method == 1020:
            if params.get("filename") not in self.files or params.get("storage_media") != "local":
                return {"error_code": 1021}
            self.status = copy.deepcopy(self.printing)
            self.status["print_status"].update({"filename": params["filename"], "uuid": f"run-{len(self.commands(1020))}"})
        elif method in (1021, 1022, 1023):
            if machine["status"] != 2:
                return fixture("captured/cc2-response-1023-not-printing")["result"]
            machine["sub_status"] = {1021: 2502, 1022: 2504, 1023: 2075}[method]
            if method == 1022:
                self.status = copy.deepcopy(self.idle)
                self.status["machine_status"]["sub_status"] = 2504
        elif method == 1028:
            for heater, target in params.items():
                self.status[heater]["target"] = target
        elif method == 1044:
            return {"offset": params["offset"], "total": len(self.files), "file_list": [
                {"filename": name, "type": "file", "size": len(content), "create_time": 1772820155}
                for name, content in self.files.items()]}
        elif method == 1046:
            content = self.files.get(params["filename"])
            return {"filename": params["filename"], "size": len(content), "layer": 722} if content else {"error_code": 1021}
        elif method == 1047:
            for name in params["file_path"]:
                self.files.pop(name, None)
        elif method == 1048:
            return fixture("captured/cc2-response-1048-disk")["result"]
        elif method == 2005:
            return fixture("captured/cc2-2005-canvas-four-trays")["result"]
        return {}

    def delta(self, **parts):
        """A push as the printer makes them: only what changed, with the next number."""
        for key, change in parts.items():
            self.status[key].update(change)
        self.deltas += 1
        self._send("api_status", {"id": self.deltas, "method": 6000, "result": parts})

    def _upload(self, web):
        first, rest = web.headers["Content-Range"].removeprefix("bytes ").split("-")
        last, size = map(int, rest.split("/"))
        name, md5, token = (web.headers[key] for key in ("X-File-Name", "X-File-MD5", "X-Token"))
        held = b"" if first == "0" else self.files.get(f"{name}.cbdtmp", b"")
        fits = int(first) == len(held) and last - int(first) + 1 == len(web.body) <= CHUNK
        if web.path != "/upload" or token != CODE or web.headers["Content-Type"] != "application/octet-stream" or "/" in name:
            self.offences.append(f"upload {web.path} {web.headers}")
            return 401, {"error_code": 1000}
        if not fits:
            return 200, fixture("assembled/cc2-http-upload-offset-mismatch")
        self.files[f"{name}.cbdtmp"] = held + web.body
        if last + 1 == size:
            content = self.files.pop(f"{name}.cbdtmp")
            if hashlib.md5(content).hexdigest() != md5:
                return 200, {"error_code": 9004}
            self.files[name] = content
        return 200, {**fixture("captured/cc2-http-upload-ok"), "offset": last}
