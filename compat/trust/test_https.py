"""HTTPS on every port of the real gateway, and its own commands over it."""

import json
import os
import re
import socket
import ssl
import subprocess

import pytest
import requests
import websocket

from harness.demo import binary
from harness.farm import Farm
from harness.waiting import wait_for


@pytest.fixture(scope="module")
def house():
    farm = Farm(("p1s",), label="https", gateway='tls = "self-signed"')
    try:
        farm.start(online=False)
        wait_for(lambda: farm.state.joinpath("tls/cert.pem").exists(), "a certificate", 30)
        wait_for(lambda: get(farm, farm.gateway_port, "/readyz").ok, "up", 30)
        wait_for(lambda: get(farm, farm["p1s"].port, "/server/info").json()["result"]["klippy_state"] == "ready", "online", 60)
        yield farm
    finally:
        farm.remove()


def certificate(farm):
    return str(farm.state / "tls" / "cert.pem")


def get(farm, port, path):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"https://localhost:{port}{path}", verify=certificate(farm), timeout=20)


def moongate(farm, *arguments, environment=None):
    done = subprocess.run([str(binary()), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, **(environment or {})})
    return done.returncode, done.stdout + done.stderr


def pin(farm):
    return re.findall(r"pin=([0-9a-f]{64})", farm.log.read_text())[-1]


def test_every_port_speaks_https_only(house):
    for port in (house.gateway_port, house["p1s"].port):
        assert get(house, port, "/readyz" if port == house.gateway_port else "/server/info").ok
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(b"GET /server/info HTTP/1.1\r\nHost: x\r\n\r\n")
            plain.settimeout(20)
            try:
                answer = plain.recv(4096)
            except ConnectionError:
                answer = b""
            assert b"HTTP/1.1 200" not in answer
        # Nothing older than TLS 1.2.
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        try:
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        except ValueError:
            continue
        with socket.create_connection(("127.0.0.1", port), 10) as plain, pytest.raises(OSError):
            old.wrap_socket(plain)
    key = house.state / "tls" / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_websocket_and_urls_over_tls(house):
    port = house["p1s"].port
    stream = websocket.create_connection(f"wss://localhost:{port}/websocket", timeout=20, suppress_origin=True,
                                         sslopt={"ca_certs": certificate(house)})
    stream.send(json.dumps({"jsonrpc": "2.0", "method": "server.webcams.list", "id": 1}))
    while (answer := json.loads(stream.recv())).get("id") != 1:
        pass
    assert answer["result"]["webcams"]
    stream.close()
    files = get(house, port, "/api/files/local").json()["files"]
    assert all("http://" not in json.dumps(file) for file in files), files


def test_commands_over_https(house):
    """By the configuration, by the certificate, by the pin; never to somebody else."""
    at = f"https://127.0.0.1:{house.gateway_port}"
    nowhere = {"XDG_CONFIG_HOME": str(house.folder / "none"), "HOME": str(house.folder / "none")}
    for arguments in (["--config", house.config], ["--gateway", at, "--gateway-cert", certificate(house)],
                      ["--gateway", at, "--gateway-pin", pin(house)]):
        code, said = moongate(house, "status", "--json", *arguments, environment=nowhere)
        assert code == 0 and '"p1s"' in said, said
    code, said = moongate(house, "status", "--gateway", at, environment=nowhere)
    assert code == 2 and "--gateway-pin" in said, said
    code, said = moongate(house, "status", "--gateway", at, "--gateway-pin", "ab" * 32, environment=nowhere)
    assert code == 69 and "another key" in said, said
    code, said = moongate(house, "files", "p1s", "--config", house.config)
    assert code == 0 and "cube" in said, said
    file = house.folder / "up.gcode.3mf"
    file.write_bytes((house.state / "library/p1s/gcodes/cube.gcode.3mf").read_bytes())
    code, said = moongate(house, "upload", file, "--printer", "p1s", "--config", house.config)
    assert code == 0, said
    code, said = moongate(house, "print", "up.gcode.3mf", "--printer", "p1s", "--config", house.config)
    assert code == 0, said
    wait_for(lambda: house["p1s"].begun() == 1, "it prints", 60)
    code, said = moongate(house, "cancel", "p1s", "--config", house.config)
    assert code == 0, said


def test_trust_over_https(house):
    """The printer's certificate changes; `moongate trust` is the confirmation."""
    printer = house["p1s"]

    def status():
        return get(house, house.gateway_port, "/status").json()["printers"][0]
    printer.control.fault("certificate_change")
    printer.drop()
    wait_for(lambda: (status()["link_fault"] or {}).get("code") == "MG-BAMBU-CERT", "the fault", 120)
    code, said = moongate(house, "trust", "p1s", "--config", house.config)
    assert code == 0, said
    wait_for(lambda: status()["link"] == "online", "online with the new key", 120)


def test_a_certificate_of_the_users_own(house, tmp_path):
    """tls_cert and tls_key; one that cannot be used is told at the start."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2", "-subj", "/CN=own",
                    "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    farm = Farm(("cc1",), label="own-cert",
                gateway=f'tls_cert = "{tmp_path}/cert.pem"\ntls_key = "{tmp_path}/key.pem"')
    try:
        farm.start(online=False)
        def up():
            assert farm.alive()
            with requests.Session() as session:
                session.trust_env = False
                return session.get(f"https://localhost:{farm.gateway_port}/readyz", verify=str(tmp_path / "cert.pem"), timeout=5).ok
        wait_for(up, "up", 30)
        code, said = moongate(farm, "status", "--config", farm.config)
        assert code == 0, said
        farm.terminate()
        (tmp_path / "cert.pem").write_text("no certificate")
        farm.start(online=False)
        wait_for(lambda: not farm.alive(), "refused", 30)
        assert farm.exit_code == 69
        assert "cert.pem" in farm.log.read_text()[-600:]
    finally:
        farm.remove()
