"""A printer that is none: Debian's mosquitto and vsftpd, and a script that answers only what captured printers answered.

Nothing of it comes from our simulator, so a misunderstanding that the simulator and the driver share shows here.
mosquitto keeps the MQTT rules (TLS, password file, topics), vsftpd those of implicit FTPS (session reuse required,
TLS 1.2). The script replays `fixtures/bambu`: the module list, the complete report, the shape of acknowledgements,
and the states of a job. Needs root, as vsftpd does.
"""

import copy
import json
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import paho.mqtt.client as mqtt

from harness import process
from harness.waiting import wait_for

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "bambu"
CODE = "12345678"
# What vsftpd asks PAM; any password will do there, the access code is mosquitto's business.
PAM = "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n"


def fixture(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())


class ReplayPrinter:
    """`suffix` names the captured report and module list; `acks` the shape of acknowledgements."""

    def __init__(self, serial, suffix, versions=None, acks="whole", overrides=None, name=None):
        self.serial = serial
        self.name = name or serial
        self.acks = acks
        self.report = fixture(f"report-pushall-{suffix}")["print"]
        self.report.update(overrides or {})
        self.versions = fixture(versions or f"info-get_version-{suffix}")["info"]
        self.requests = []
        self.folder = Path(tempfile.mkdtemp(prefix="replay-printer-"))
        self.folder.chmod(0o755)
        self.mqtt_port, self.ftps_port = process.free_port(), process.free_port()
        self.pam = Path("/etc/pam.d") / self.folder.name
        self._processes = []
        self._answered = threading.Lock()

    @property
    def stored(self):
        return self.folder / "card"

    def __enter__(self):
        try:
            self._certificate()
            self._start_mosquitto()
            self._start_vsftpd()
            self._connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        client = getattr(self, "client", None)
        if client:
            client.loop_stop()
            client.disconnect()
        for child in self._processes:
            process.stop(child)
        self.pam.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _certificate(self):
        self.certificate, self.key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={self.name}",
             "-keyout", self.key, "-out", self.certificate],
            check=True, capture_output=True, timeout=60,
        )

    def _start_mosquitto(self):
        passwords = self.folder / "passwords"
        for user, options in (("bblp", ["-b", "-c"]), ("machine", ["-b"])):
            subprocess.run(["mosquitto_passwd", *options, passwords, user, CODE], check=True, capture_output=True)
        # What a printer allows: its own topics, and nobody may read the request topic.
        rights = self.folder / "rights"
        rights.write_text(
            f"user bblp\ntopic read device/{self.serial}/report\ntopic write device/{self.serial}/request\n"
            f"user machine\ntopic readwrite device/{self.serial}/#\n"
        )
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nacl_file {rights}\n"
            f"certfile {self.certificate}\nkeyfile {self.key}\ntls_version tlsv1.2\nuser root\npersistence false\n"
        )
        self._processes.append(process.start(["/usr/sbin/mosquitto", "-c", config], "replay-mosquitto.log"))

    def _start_vsftpd(self):
        for name in ("card", "card/cache", "card/timelapse"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, "ftp")
        (self.folder / "empty").mkdir(mode=0o555)
        self.pam.write_text(PAM)
        config = self.folder / "vsftpd.conf"
        config.write_text("\n".join([
            "listen=YES", "listen_address=127.0.0.1", f"listen_port={self.ftps_port}", "background=NO",
            "anonymous_enable=NO", "local_enable=YES", "write_enable=YES", f"pam_service_name={self.pam.name}",
            "guest_enable=YES", "guest_username=ftp", "virtual_use_local_privs=YES", f"local_root={self.stored}",
            "chroot_local_user=YES", "allow_writeable_chroot=YES", f"secure_chroot_dir={self.folder}/empty",
            "seccomp_sandbox=NO", "ssl_enable=YES", "implicit_ssl=YES", "force_local_logins_ssl=YES",
            "force_local_data_ssl=YES", "require_ssl_reuse=YES", "xferlog_enable=YES",
            f"vsftpd_log_file={self.folder}/vsftpd.log", f"rsa_cert_file={self.certificate}",
            f"rsa_private_key_file={self.key}",
        ]) + "\n")
        self._processes.append(process.start(["/usr/sbin/vsftpd", config], "replay-vsftpd.log"))

    def _connect(self):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="machine")
        client.username_pw_set("machine", CODE)
        client.tls_set(ca_certs=str(self.certificate))
        client.tls_insecure_set(True)
        subscribed = threading.Event()
        client.on_connect = lambda *_: client.subscribe(f"device/{self.serial}/request", 1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _user, message: self._received(message.payload)
        wait_for(lambda: client.connect("127.0.0.1", self.mqtt_port) == mqtt.MQTT_ERR_SUCCESS, "mosquitto answers", 10)
        client.loop_start()
        self.client = client
        assert subscribed.wait(10), "the script could not subscribe"

    def publish(self, category, body):
        self.client.publish(f"device/{self.serial}/report", json.dumps({category: body}))

    def delta(self, **fields):
        """A report of what changed, as small printers send it."""
        self.report.update(fields)
        self.publish("print", {**fields, "command": "push_status", "msg": 1, "sequence_id": "2021"})

    def _received(self, payload):
        message = json.loads(payload)
        (category, body), = message.items()
        with self._answered:
            self.requests.append((category, body))
        command = body.get("command")
        if (category, command) == ("pushing", "pushall"):
            self.publish("print", {**copy.deepcopy(self.report), "command": "push_status"})
        elif (category, command) == ("info", "get_version"):
            self.publish("info", {**self.versions, "command": "get_version", "sequence_id": body["sequence_id"]})
        elif category == "pushing":
            self.delta(wifi_signal="-50dBm")
        else:
            self._acknowledge(category, body)

    def announce(self):
        """What a printer says every ten seconds, to this machine only: every listener of port 2021 hears it."""
        captured = fixture("ssdp-notify-p1s-01.10")["datagram"]
        notify = captured.replace("01P00A000000001", self.serial).replace("192.168.1.50", "127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(notify.encode(), ("127.255.255.255", 2021))

    def _acknowledge(self, category, body):
        if self.acks == "none":
            return
        if self.acks == "verify-failed":
            # fixture ack-gcode_line-verify-failed: the request, and why it was refused.
            refusal = fixture("ack-gcode_line-verify-failed")["print"]
            kept = {key: refusal[key] for key in ("result", "reason", "err_code") if key in refusal}
            self.publish(category, {**body, **kept})
            return
        if self.acks == "bare":
            # fixture ack-bare-p1s-01.10, and the health message of fixture delta-hms-verify-failed.
            self.publish(category, {"command": body["command"], "sequence_id": body["sequence_id"]})
            self.delta(hms=fixture("delta-hms-verify-failed")["print"]["hms"])
            return
        answer = {**body, "result": "success", "reason": "success"}
        if self.acks == "nameless":
            # fixture ack-gcode_line-a1mini
            answer.pop("command")
        self.publish(category, answer)

    def asked(self, command, category=None):
        """The requests of this name so far."""
        with self._answered:
            return [body for kind, body in self.requests
                    if body.get("command") == command and category in (None, kind)]

    def wait_asked(self, command, seconds=30):
        wait_for(lambda: self.asked(command), f"the request {command}", seconds)
        return self.asked(command)[-1]

    def config(self, **more):
        """The keys of the gateway's [[printer]] table."""
        return {"name": "replay", "kind": "bambu", "host": "127.0.0.1", "serial": self.serial, "access_code": CODE,
                "mqtt_port": self.mqtt_port, "ftps_port": self.ftps_port, "detect_port": 1, "camera_port": 1,
                "rtsp_port": 1, **more}
