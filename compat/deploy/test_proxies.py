"""The examples for nginx and Caddy in front of a demo: TLS, one name, the prefix, sockets, uploads, streams."""

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
import websocket

from harness.command import DEPLOY
from harness import process
from harness.demo import Demo
from harness.waiting import wait_for

NAME = "printers.example.org"


@pytest.fixture(scope="module")
def farm():
    with Demo(20, "proxies", printers=["p1s", "cc1"]) as demo:
        yield demo


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext",
         f"subjectAltName=DNS:{NAME},IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True, timeout=60)
    return folder


def with_folder(text, begin, site):
    """The lines for a folder, which stand behind the example as a comment, put into the example's own `site`."""
    example, comment = text.split("# Below a folder", 1)
    lines = [line.removeprefix("#") for line in comment.splitlines()]
    folder = "\n".join(lines[next(at for at, line in enumerate(lines) if line.split()[:1] == [begin]):])
    assert site in example
    return example.replace(site, f"{site}\n{folder}\n")


def nginx(farm, certificate, folder, port):
    """The example as it is, but for ports and paths, inside the least that nginx needs around it."""
    text = with_folder((DEPLOY / "proxy/nginx.conf").read_text(), "location", f"server_name {NAME};")
    for ours, here in (("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"), ("127.0.0.1:7100", f"127.0.0.1:{farm.gateway_port}"),
                       (f"/etc/ssl/{NAME}.pem", str(certificate / "cert.pem")), (f"/etc/ssl/private/{NAME}.key", str(certificate / "key.pem"))):
        assert ours in text, ours
        text = text.replace(ours, here)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n"
        + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + text + "}\n")
    return ["timeout", "300", "/usr/sbin/nginx", "-c", folder / "nginx.conf"], {}


def caddy(farm, certificate, folder, port):
    """Caddy fetches certificates by itself; here it is given one, and nothing to ask anybody for."""
    text = with_folder((DEPLOY / "proxy/Caddyfile").read_text(), "redir", f"\n{NAME} {{")
    assert f"\n{NAME} {{\n" in text and "127.0.0.1:7100" in text
    text = text.replace(f"\n{NAME} {{\n", f"\nhttps://{NAME}:{port}, https://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate}/cert.pem {certificate}/key.pem\n")
    text = text.replace("127.0.0.1:7100", f"127.0.0.1:{farm.gateway_port}")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return ["timeout", "300", "caddy", "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"], home


class Front:
    """One name behind a proxy."""

    def __init__(self, port, certificate):
        self.port = port
        self.tls = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        self.cert = certificate / "cert.pem"

    def get(self, path, data=None, headers=None, method=None):
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data=data, headers=headers or {}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls))
        return opener.open(request, timeout=60)

    def json(self, path):
        return json.load(self.get(path))


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def front(request, farm, certificate, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp(request.param.__name__), process.free_port()
    command, env = request.param(farm, certificate, folder, port)
    running = process.start(command, f"{request.param.__name__}.log", env=env)
    try:
        front = Front(port, certificate)
        wait_for(lambda: front.get("/readyz").status == 200, f"{request.param.__name__} is up", 60)
        yield front
    finally:
        process.stop(running)


def test_pages_and_answers(front, farm):
    assert b"page.js" in front.get("/").read() and front.get("/page.js").status == 200
    assert {printer["name"] for printer in front.json("/status")["printers"]} == {"p1s", "cc1"}
    # The page then shows no ports that the proxy does not lead to.
    direct = urllib.request.urlopen(f"http://127.0.0.1:{farm.gateway_port}/status", timeout=60)
    assert front.json("/status")["behind_proxy"] and not json.load(direct)["behind_proxy"]
    assert front.json("/printers/cc1/server/info")["result"]["klippy_state"] == "ready"


def test_a_folder_of_a_site(front):
    """Without its slash too; what the gateway says of itself has the folder in it."""
    assert b"page.js" in front.get("/printing").read() and front.get("/printing/page.js").status == 200
    camera = front.json("/printing/printers/cc1/server/webcams/list")["result"]["webcams"][0]["stream_url"]
    assert camera.startswith(f"https://127.0.0.1:{front.port}/printing/printers/cc1/webcam/"), camera


@pytest.mark.parametrize("at", ["", "/printing"])
def test_sockets_below_the_prefix(front, at):
    socket = websocket.create_connection(
        f"wss://127.0.0.1:{front.port}{at}/printers/cc1/websocket", sslopt={"ca_certs": str(front.cert)}, timeout=60,
        origin=f"https://127.0.0.1:{front.port}")
    socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "printer.objects.subscribe", "params": {"objects": {"heater_bed": None}}}))
    seen = []
    while not any(frame.get("id") == 1 for frame in seen):
        seen.append(json.loads(socket.recv()))
    answer = next(frame for frame in seen if frame.get("id") == 1)
    assert answer["result"]["status"]["heater_bed"]["temperature"] > 0
    goal = 46 if answer["result"]["status"]["heater_bed"]["target"] != 46 else 45
    socket.send(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "printer.gcode.script", "params": {"script": f"M140 S{goal}"}}))

    def goal_seen():
        frame = json.loads(socket.recv())
        return frame.get("method") == "notify_status_update" and frame["params"][0].get("heater_bed", {}).get("target") == goal
    wait_for(goal_seen, "the change arrives as it happens", 60, every=0)
    socket.close()


@pytest.mark.parametrize("at", ["", "/printing"])
def test_a_large_upload(front, at):
    """More than nginx takes by itself, byte for byte; also below a folder of a site."""
    content = b"; generated by OrcaSlicer 2.3.0\n" + os.urandom(1 << 20).hex().encode() * 6
    boundary = "moongate-proxy-test"
    body = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="big.gcode"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n").encode() + content + f"\r\n--{boundary}--\r\n".encode()
    answer = front.get(at + "/printers/cc1/server/files/upload", data=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert answer.status == 201, answer.read()
    assert front.get(at + "/printers/cc1/server/files/gcodes/big.gcode").read() == content


def test_the_camera_streams(front):
    """Pictures come while they are made, not when a buffer is full."""
    stream = front.get("/printers/cc1/webcam/?action=stream")
    assert stream.headers["content-type"].startswith("multipart/x-mixed-replace")
    assert len([1 for _ in range(3) if stream.read(4096)]) == 3
    stream.close()
    assert front.get("/printers/cc1/webcam/?action=snapshot").read(2) == b"\xff\xd8"


def test_the_gateway_judges_the_real_client(front, farm):
    """What a proxy on this machine says of the client is believed; a stranger behind it needs the key."""
    answer = front.json("/printers/cc1/access/info")
    assert answer["result"]["trusted"] is True
    request = urllib.request.Request(f"http://127.0.0.1:{farm.gateway_port}/status", headers={"X-Forwarded-For": "203.0.113.9"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    assert refused.value.code == 401


def test_a_browser_is_known_by_the_proxy_s_name(service, printers, certificate, tmp_path):
    """As deploy/README.md says: the name stands in `cors_domains`. A foreign name that leads here is a stranger's."""
    (tmp_path / "index.html").write_text("<!DOCTYPE html>")
    gateway = service([printers[0].table("cc1")], gateway=f'web_root = "{tmp_path}"\n', access=f'cors_domains = ["https://{NAME}"]\n')
    gateway.start().ready()
    port = process.free_port()
    command, env = nginx(SimpleNamespace(gateway_port=gateway.port), certificate, tmp_path, port)
    running = process.start(command, "nginx-name.log", env=env)
    try:
        front = Front(port, certificate)
        wait_for(lambda: front.get("/readyz").status == 200, "nginx is up", 60)
        browser = {"Host": NAME, "Sec-Fetch-Site": "same-origin"}
        assert json.load(front.get("/status", headers=browser))["behind_proxy"]
        told = json.load(front.get("/printers/cc1/config.json", headers={**browser, "X-Forwarded-Prefix": "/printing"}))
        assert told["endpoints"] == [f"https://{NAME}/printing/printers/cc1"], told
        assert told["instances"] == [{"hostname": NAME, "port": 443, "path": "/printing/printers/cc1"}], told
        with pytest.raises(urllib.error.HTTPError) as refused:
            front.get("/status", headers={**browser, "Host": "elsewhere.example.org"})
        assert refused.value.code == 401
        assert 'add "https://elsewhere.example.org"' in gateway.log.read_text()
    finally:
        process.stop(running)
