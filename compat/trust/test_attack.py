"""The gateway under attack over real sockets, by somebody whose address is not trusted."""

import json
import re
import time

import pytest

import attacker
from attacker import ADDRESS, TEMPTING, ask, open_socket, rpc, send
from harness.farm import Farm
from harness.moonraker import http

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
# What everybody may ask: who one could be, how to become somebody, whether the process lives, the page itself.
OPEN_METHODS = {"access.info", "access.login", "access.refresh_jwt", "server.connection.identify"}
OPEN_ROUTES = {"/", "/page.css", "/page.js", "/livez", "/readyz", "/session"}
# Open too, to what is a login.
LOGINS = {"/login", "/refresh", "/session"}


@pytest.fixture(scope="module")
def house():
    """A farm that trusts 127.0.0.1 alone."""
    only = 'trusted_clients = ["127.0.0.1/32"]\ntrusted_proxies = ["127.0.0.1/32"]\nviewers = ["vera"]\n' \
           'operators = ["otto"]\n'
    farm = Farm(("p1s", "cc1"), label="house", access=only)
    try:
        yield farm.start()
    finally:
        farm.remove()


def untouched(farm):
    """What an attacker would have changed."""
    told = []
    for printer in farm.printers:
        truth = printer.truth()
        orders = [c for c in truth["counters"]["commands"] if c["command"] in ("project_file", "stop", "gcode_line")] \
            if printer.kind == "bambu" else []
        with printer.moonraker() as client:
            users = [user["username"] for user in client.call("access.users.list")["users"]]
            told.append((sorted(printer.files()), printer.begun(), orders, users, len(printer.history()),
                         client.call("access.get_api_key"), client.call("server.database.list")))
    return told


@pytest.fixture
def unchanged(house):
    before = untouched(house)
    yield house
    assert untouched(house) == before, "somebody without a right has changed something"
    assert house.alive()


def test_no_method_without_a_right(unchanged):
    """Every method, by every way in: WebSocket, JSON-RPC over HTTP, its path with every verb, on both ports."""
    printer = unchanged["p1s"]
    ports = [(printer.port, ""), (unchanged.gateway_port, "/printers/p1s")]
    stream = open_socket(printer.port)
    for name, _, path, is_open, _ in attacker.methods():
        assert is_open == (name in OPEN_METHODS), name
        if is_open:
            continue
        assert rpc(stream, name, TEMPTING)["error"]["message"] == "Unauthorized", name
        for port, prefix in ports:
            frame = {"jsonrpc": "2.0", "method": name, "params": TEMPTING, "id": 1}
            status, text = ask(port, "POST", f"{prefix}/server/jsonrpc", frame)
            # Answered as captured (auth_untrusted, http:jsonrpc_unauthorized); what only sockets have is not there.
            elsewhere = name == "printer.objects.subscribe" or not path
            assert status == 200 and ('"Unauthorized"' in text or (elsewhere and '"code":-32601' in text)), (name, text)
            for verb in VERBS if path else ():
                status, text = ask(port, verb, prefix + path, TEMPTING)
                assert status in (401, 405), (verb, path, text)
                if port == printer.port:
                    continue
                # Spoofed addresses make nobody better.
                for header in ("X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1"):
                    assert ask(port, verb, prefix + path, TEMPTING, [header])[0] in (401, 405), (verb, path, header)
    stream.close()


def test_no_route_without_a_right(unchanged):
    """The routes that are no methods: OctoPrint, uploads, downloads, cameras, the gateway's own."""
    printer = unchanged["p1s"]
    files = ["/server/files/upload", "/server/files/gcodes/cube.gcode", "/server/files/logs/moongate.log",
             "/server/files/config/printer.cfg", "/machine/x", "/printer/x", "/access/x", "/server/x"]
    webcam = [*attacker.routes("webcam"), "/webcam/?action=stream", "/webcam/?action=snapshot"]
    for prefix, port in (("", printer.port), ("/printers/p1s", unchanged.gateway_port)):
        for path in attacker.octoprint_paths() + files + webcam:
            for verb in VERBS:
                status, text = ask(port, verb, prefix + path, TEMPTING)
                assert status in (401, 405), (verb, prefix + path, text[:300])
        for path in ("/server/files/upload", "/api/files/local"):
            status, text = ask(port, "POST", prefix + path, attacker.BOUNDARY_FORM, kind="multipart/form-data; boundary=b")
            assert status == 401, text
    own = attacker.routes("admin")
    assert {"/status", "/trust", "/start", "/cancel"} <= set(own), own
    for path in own:
        for whole in (path, f"/printers/p1s/moongate{path}"):
            for verb in VERBS:
                status, text = ask(unchanged.gateway_port, verb, whole, {})
                allowed = (200, 405) if whole in OPEN_ROUTES else (401, 404, 405)
                if whole in LOGINS and verb == "POST":
                    allowed = (400,)
                elif whole in LOGINS - OPEN_ROUTES:
                    allowed = (405,)
                assert status in allowed, (verb, whole, text[:300])
                if status == 404:
                    assert path in OPEN_ROUTES | LOGINS | {"/status", "/activity", "/metrics", "/logout"} or whole == path


def test_roles(house):
    """A viewer writes nothing, an operator makes no users; over HTTP and WebSocket."""
    printer = house["cc1"]
    with printer.moonraker() as admin:
        tokens = {name: admin.call("access.post_user", {"username": name, "password": "secret"})["token"]
                  for name in ("vera", "otto")}
    for name, _, path, is_open, flags in attacker.methods():
        if is_open or not path:
            continue
        for user, refused in (("vera", "OPERATE" in flags or "ADMIN" in flags), ("otto", "ADMIN" in flags)):
            if not refused:
                continue
            verbs = {"Get": ["GET"], "Post": ["POST"], "Delete": ["DELETE"], "Either": ["GET", "POST"]}
            for verb in next(verbs[v] for n, v, *_ in attacker.methods() if n == name):
                status, text = ask(printer.port, verb, path, TEMPTING, [f"Authorization: Bearer {tokens[user]}"])
                assert status == 403, (user, verb, path, text)
    stream = open_socket(printer.port, f"/websocket?access_token={tokens['vera']}")
    assert rpc(stream, "server.info")["result"]
    assert rpc(stream, "printer.emergency_stop")["error"]["code"] == 403
    stream.close()
    for path in ("/pause", "/trust"):
        status, _ = ask(house.gateway_port, "POST", f"/printers/cc1/moongate{path}", {},
                        [f"Authorization: Bearer {tokens['vera']}"])
        assert status == 403
    with printer.moonraker() as admin:
        for name in tokens:
            admin.call("access.delete_user", {"username": name})
    # Their tokens have ended with them.
    assert ask(printer.port, "GET", "/server/info", None, [f"Authorization: Bearer {tokens['otto']}"])[0] == 401


def _encoded(value):
    import base64
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_forged_tokens(house):
    """Tokens without a signature, with another's, of the wrong kind, used again, too late."""
    printer = house["cc1"]
    with printer.moonraker() as admin:
        login = admin.call("access.post_user", {"username": "tom", "password": "secret"})
    head, body, signature = login["token"].split(".")
    import base64
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    later = {**claims, "exp": claims["exp"] + 10**8}
    forged = [
        f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{body}.{signature}",
        f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{body}.{signature}",
        f"{head}.{_encoded(later)}.{signature}",
        f"{head}.{_encoded({**claims, 'username': '_TRUSTED_USER_'})}.{signature}",
        f"{head}.{body}.{'A' * len(signature)}", f"{head}.{body}.", f"{head}..{signature}", "a.b.c", "..", ".",
        login["refresh_token"], "x" * 100_000 + ".y.z",
    ]
    for token in forged:
        for header in (f"Authorization: Bearer {token}", f"X-Access-Token: {token}"):
            status, _ = ask(printer.port, "POST", "/printer/print/pause", {}, [header])
            assert status in (401, 431), token[:80]
        stream = open_socket(printer.port) if len(token) < 10_000 else None
        if stream:
            answer = rpc(stream, "server.connection.identify", {
                "client_name": "x", "version": "1", "type": "web", "url": "x", "access_token": token})
            assert "error" in answer, answer
            assert rpc(stream, "printer.print.pause")["error"]["message"] == "Unauthorized"
            stream.close()
    # An access token is no refresh token.
    assert ask(printer.port, "POST", "/access/refresh_jwt", {"refresh_token": login["token"]})[0] == 401
    bearer = [f"Authorization: Bearer {login['token']}"]
    assert ask(printer.port, "GET", "/server/info", None, bearer)[0] == 200
    # One-shot tokens: once, for one address, for five seconds.
    def oneshot():
        return json.loads(ask(printer.port, "GET", "/access/oneshot_token", None, bearer)[1].split("\r\n\r\n")[1])["result"]
    token = oneshot()
    assert ask(printer.port, "GET", f"/server/info?token={token}")[0] == 200
    assert ask(printer.port, "GET", f"/server/info?token={token}")[0] == 401, "used again"
    assert ask(printer.port, "GET", f"/server/info?token={oneshot()}", address="127.0.0.67")[0] == 401, "another's"
    late = oneshot()
    time.sleep(5.5)
    assert ask(printer.port, "GET", f"/server/info?token={late}")[0] == 401, "too late"
    # A logout ends all.
    assert ask(printer.port, "POST", "/access/logout", {}, bearer)[0] == 200
    assert ask(printer.port, "GET", "/server/info", None, bearer)[0] == 401
    assert ask(printer.port, "POST", "/access/refresh_jwt", {"refresh_token": login["refresh_token"]})[0] == 401
    with printer.moonraker() as admin:
        admin.call("access.delete_user", {"username": "tom"})


def test_api_key(house):
    """The key opens, a new one closes the old; guesses are slowed, the right key never."""
    printer = house["cc1"]
    with printer.moonraker() as admin:
        old = admin.call("access.get_api_key")
    assert ask(printer.port, "GET", "/server/info", None, [f"X-Api-Key: {old}"])[0] == 200
    with printer.moonraker() as admin:
        new = admin.call("access.post_api_key")
    assert new != old and re.fullmatch("[0-9a-f]{32}", new)
    for port, prefix in ((printer.port, ""), (house["p1s"].port, ""), (house.gateway_port, "/printers/p1s")):
        assert ask(port, "GET", f"{prefix}/server/info", None, [f"X-Api-Key: {old}"], "127.0.0.68")[0] == 401
        assert ask(port, "GET", f"{prefix}/server/info", None, [f"X-Api-Key: {new}"], "127.0.0.68")[0] == 200
    statuses = [ask(printer.port, "GET", "/server/info", None, ["X-Api-Key: wrong"], "127.0.0.69")[0] for _ in range(14)]
    assert statuses[:5] == [401] * 5 and statuses[-1] == 429, statuses
    assert ask(printer.port, "GET", "/server/info", None, [f"X-Api-Key: {new}"], "127.0.0.69")[0] == 200
    wrong = {"username": "nobody", "password": "x"}
    statuses = [ask(printer.port, "POST", "/access/login", wrong, address="127.0.0.70")[0] for _ in range(14)]
    assert statuses[0] in (400, 401) and statuses[-1] == 429, statuses
    assert ask(printer.port, "POST", "/access/login", wrong, address="127.0.0.71")[0] in (400, 401), "others may"
    house.restart()
    assert ask(printer.port, "GET", "/server/info", None, [f"X-Api-Key: {new}"])[0] == 200, "it outlives a restart"


def test_pages_of_the_internet(unchanged):
    """A page somewhere, opened in a browser whose address is trusted (127.0.0.1)."""
    printer, evil = unchanged["p1s"], "http://evil.example"
    agent = "User-Agent: Mozilla/5.0 (X11) Firefox/140.0"
    for headers in ([f"Origin: {evil}"], ["Origin: null", agent], [f"Origin: {evil}", agent, f"Referer: {evil}/x"]):
        for path in ("/printer/print/start?filename=cube.gcode", "/printer/gcode/script?script=M112",
                     "/server/files/delete?path=x", "/api/job"):
            status, text = ask(printer.port, "POST", path, {"command": "start"}, headers, "127.0.0.1")
            assert status in (401, 403, 404), (path, text)
            assert "access-control-allow-origin" not in text.lower(), text
    status, text = ask(printer.port, "GET", "/printer/gcode/script?script=M112", None, [agent], "127.0.0.1")
    assert status == 403, text
    status, text = ask(printer.port, "OPTIONS", "/printer/print/start", None,
                       [f"Origin: {evil}", "Access-Control-Request-Method: POST"], "127.0.0.1")
    assert "access-control-allow-origin" not in text.lower(), text
    with pytest.raises(Exception, match="403"):
        open_socket(printer.port, origin=evil, address="127.0.0.1")
    # A name of the internet that points here (DNS rebinding).
    data = (f"POST /printer/print/pause HTTP/1.1\r\nHost: evil.example:{printer.port}\r\nOrigin: http://evil.example:"
            f"{printer.port}\r\n{agent}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").encode()
    assert send(printer.port, data, "127.0.0.1")[0] in (401, 403)
    for path in ("/printers/p1s/moongate/cancel", "/printers/p1s/moongate/trust"):
        assert ask(unchanged.gateway_port, "POST", path, {}, [f"Origin: {evil}"], "127.0.0.1")[0] == 403
        # A form of a page sends no JSON.
        assert ask(unchanged.gateway_port, "POST", path, b"{}", [], "127.0.0.1", "text/plain")[0] in (400, 415)


def _body(text):
    return json.loads(text.split("\r\n\r\n", 1)[1])


def test_application_keys(house):
    """Who asks decides nothing; a key of an application is less than an admin, and ends when it is taken back."""
    port = house["cc1"].port
    tokens = []
    for _ in range(4):
        status, text = ask(port, "POST", "/plugin/appkeys/request", {"app": "<img src=x onerror=alert(1)>"})
        assert status == 201, text
        tokens.append(_body(text)["app_token"])
    assert ask(port, "POST", "/plugin/appkeys/request", {"app": "one too many"})[0] == 429
    assert [ask(port, "GET", f"/plugin/appkeys/request/{token}")[0] for token in tokens] == [202] * 4
    assert ask(port, "GET", "/api/plugin/appkeys")[0] == 401
    for guess in (*tokens, "1", "../x", ""):
        assert ask(port, "POST", f"/plugin/appkeys/decision/{guess}", {"decision": True})[0] in (401, 404, 405)
    page = ask(port, "GET", f"/plugin/appkeys/auth/{tokens[0]}")[1]
    assert "onerror" not in page and "content-security-policy" in page.lower() and "x-frame-options" in page.lower()
    foreign = ["Origin: http://evil.example"]
    pending = _body(ask(port, "GET", "/api/plugin/appkeys", None, [], "127.0.0.1")[1])["pending"]
    decisions = [next(v for k, v in question.items() if "token" in k or "decision" in k) for question in pending]
    assert not set(decisions) & set(tokens), "the application cannot name its own decision"
    path = f"/plugin/appkeys/decision/{decisions[0]}"
    assert ask(port, "POST", path, {"decision": True}, foreign, "127.0.0.1")[0] == 403
    assert ask(port, "POST", path, {"decision": True}, [], "127.0.0.1")[0] == 204
    for decision in decisions[1:]:
        assert ask(port, "POST", f"/plugin/appkeys/decision/{decision}", {"decision": False}, [], "127.0.0.1")[0] == 204
    answers = [ask(port, "GET", f"/plugin/appkeys/request/{token}") for token in tokens]
    keys = [_body(text)["api_key"] for status, text in answers if status == 200]
    assert len(keys) == 1, answers
    key = [f"X-Api-Key: {keys[0]}"]
    assert ask(port, "GET", "/api/job", None, key)[0] == 200
    for verb, path in (("GET", "/access/api_key"), ("POST", "/access/api_key"), ("POST", "/access/user"),
                       ("DELETE", "/access/user"), ("POST", "/server/restart"), ("POST", "/machine/reboot"),
                       ("GET", "/api/plugin/appkeys"), ("POST", "/api/plugin/appkeys")):
        assert ask(port, verb, path, TEMPTING, key)[0] == 403, (verb, path)
    assert ask(house.gateway_port, "POST", "/printers/p1s/moongate/trust", {}, key)[0] == 403
    listed = ask(port, "GET", "/api/plugin/appkeys", None, [], "127.0.0.1")[1]
    assert keys[0] not in listed, "a key is told once"
    for known in _body(listed)["keys"]:
        assert ask(port, "POST", "/api/plugin/appkeys", {"command": "revoke", "id": known.get("id")}, [], "127.0.0.1")[0] == 204
    for printer in house.printers:
        assert ask(printer.port, "GET", "/api/job", None, key)[0] == 401


def test_push_channel_of_octoprint(house):
    """A stranger at /sockjs learns who we are and nothing of the printer; a foreign page nothing at all."""
    printer = house["cc1"]
    with pytest.raises(Exception, match="403"):
        open_socket(printer.port, "/sockjs/websocket", "http://evil.example", "127.0.0.1")
    stream = open_socket(printer.port, "/sockjs/websocket")
    stream.settimeout(4)
    heard = ""
    for frame in ('{"auth":"eve:wrong"}', '{"throttle":1}', "[", '{"subscribe":{"state":true}}', "x" * 1000):
        stream.send(frame)
    try:
        while piece := stream.recv():
            heard += piece
    except Exception:  # noqa: BLE001 - silence, or the end
        pass
    stream.close()
    assert "temps" not in heard and "temperature" not in heard and '"state"' not in heard, heard
    assert http("GET", f"{printer.url}/server/info").ok


TRAVERSALS = [
    "../moongate.toml", "..%2fmoongate.toml", "..%252f..%252fmoongate.toml", "%2e%2e/%2e%2e/moongate.redb",
    "....//moongate.toml", "..\\..\\moongate.redb", "%2fetc/passwd", "//etc/passwd", "a/../../../moongate.redb",
    "cube.gcode/../../../../moongate.redb", "..;/moongate.redb", "%00", "cube.gcode%00.png", "%c0%ae%c0%ae/x",
    "link/passwd", "link-file", ".%2e/.%2e/moongate.redb",
]


def test_traversal(house):
    """Reading, writing, moving and deleting outside of the roots, by every path parameter there is."""
    printer = house["cc1"]
    root = house.state / "library" / "cc1" / "gcodes"
    (root / "link").symlink_to("/etc")
    (root / "link-file").symlink_to(house.config)
    secret = house.configuration()
    try:
        for name in TRAVERSALS:
            for start in ("/server/files/gcodes/", "/server/files/", "/server/files/config/", "/", "/api/files/local/",
                          "/webcam/hls/"):
                for verb in ("GET", "DELETE"):
                    status, text = ask(printer.port, verb, start + name, None, address="127.0.0.1")
                    assert "root:" not in text and "[[printer]]" not in text, (verb, start + name)
                    assert status != 500, (verb, start + name, text)
        paths = [name.replace("%2e", ".").replace("%2f", "/") for name in TRAVERSALS]
        with printer.moonraker() as client:
            for path in paths:
                for method, params in [
                    ("server.files.metadata", {"filename": path}), ("server.files.thumbnails", {"filename": path}),
                    ("server.files.get_directory", {"path": f"gcodes/{path}"}),
                    ("server.files.copy", {"source": f"gcodes/{path}", "dest": "gcodes/stolen.gcode"}),
                    ("server.files.move", {"source": f"gcodes/{path}", "dest": "gcodes/stolen.gcode"}),
                    ("server.files.copy", {"source": "gcodes/cube.gcode", "dest": f"gcodes/{path}"}),
                    ("server.files.move", {"source": "gcodes/cube.gcode", "dest": f"gcodes/../{path}"}),
                    ("server.files.delete_file", {"path": f"gcodes/{path}"}),
                    ("server.files.post_directory", {"path": f"gcodes/{path}"}),
                    ("server.files.delete_directory", {"path": f"gcodes/{path}", "force": True}),
                    ("printer.print.start", {"filename": path}),
                ]:
                    answer = client.request(method, params, 30)
                    assert "root:" not in json.dumps(answer) and "[[printer]]" not in json.dumps(answer)
        names = {path.name for path in house.folder.rglob("*")}
        assert not names & {"stolen.gcode", "evil"}, names
        for evil in ("../evil.gcode", "../../evil.gcode", "/tmp/evil-moongate.gcode", "link/evil.gcode", "a\\..\\evil.gcode",
                     "evil\r\nX: y.gcode", "evil\0.gcode"):
            form = ('--b\r\nContent-Disposition: form-data; name="root"\r\n\r\ngcodes\r\n--b\r\n'
                    f'Content-Disposition: form-data; name="file"; filename="{evil}"\r\n\r\nG28\r\n--b--\r\n').encode()
            for path in ("/server/files/upload", "/api/files/local"):
                status, text = ask(printer.port, "POST", path, form, [], "127.0.0.1", "multipart/form-data; boundary=b")
                assert status != 500, text
            form = form.replace(b"\r\ngcodes\r\n", b"\r\n../../\r\n").replace(b'"root"', b'"path"')
            ask(printer.port, "POST", "/server/files/upload", form, [], "127.0.0.1", "multipart/form-data; boundary=b")
        outside = [p for p in house.folder.rglob("*evil*") if root not in p.parents]
        assert not outside, outside
        import os
        assert not os.path.exists("/tmp/evil-moongate.gcode") and not os.path.exists("/etc/evil.gcode")
        assert house.config.read_text().count("[[printer]]") == 2 and secret in house.config.read_text()
        assert (house.state / "moongate.redb").exists()
    finally:
        for link in ("link", "link-file"):
            (root / link).unlink(missing_ok=True)


def test_header_injection(unchanged):
    port = unchanged["cc1"].port
    for path in ("/server/files/gcodes/a%0d%0aSet-Cookie:%20x=1", "/%0d%0aX-Evil:1", "/webcam/?action=a%0d%0aX-Evil:1",
                 "/server/info?x=%0d%0aX-Evil:1"):
        _, text = ask(port, "GET", path, None, ["Origin: http://localhost%0d%0aX-Evil:1"], "127.0.0.1")
        head = text.split("\r\n\r\n")[0].lower()
        assert "x-evil" not in head and "set-cookie" not in head, head
    for data in (b"GET /server/info HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
                 b"POST /server/jsonrpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /",
                 b"GET /server/info HTTP/1.1\r\nHost: x\r\n X-Folded: y\r\n\r\n",
                 b"GET /server/info HTTP/1.1\r\nHost : x\r\n\r\n",
                 b"GET /server/info\r\n\r\n", b"\0" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 100_000):
        status, _ = send(port, data + (b"" if b"chunked" in data else b""), "127.0.0.1", 20)
        assert status in (0, 400, 401, 405, 505), (data[:60], status)


def test_oversized_everything(unchanged):
    port = unchanged["cc1"].port
    here = "127.0.0.1"
    for name, data in {
        "many headers": b"GET /server/info HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
        "one long header": b"GET /server/info HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 5_000_000 + b"\r\n\r\n",
        "a long path": b"GET /" + b"a" * 5_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "a long query": b"GET /server/info?" + b"a=1&" * 500_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    }.items():
        status, _ = send(port, data, here)
        assert status in (0, 400, 414, 431), (name, status)
    for path in ("/server/jsonrpc", "/server/database/item", "/api/job", "/access/login"):
        status, text = ask(port, "POST", path, b'{"a":"' + b"x" * (20 << 20) + b'"}', [], here)
        assert status in (0, 413), (path, status, text[:200])
        # A claim of more than there is costs nothing.
        data = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n" \
               "Connection: close\r\n\r\n".encode()
        with attacker.connect(port, here, 5) as stream:
            stream.sendall(data)
    status, text = ask(port, "POST", "/server/files/upload", None, ["Content-Type: multipart/form-data; boundary=b",
                       "Content-Length: 999999999999"], here, seconds=5)
    assert status in (0, 400, 413, 507), text
    for deep in ("[" * 200_000, '{"a":' * 200_000, '{"jsonrpc":"2.0","method":"server.database.post_item","id":1,"params":'
                 + '{"a":' * 5000 + "1" + "}" * 5000 + "}"):
        status, text = ask(port, "POST", "/server/jsonrpc", deep.encode(), [], here)
        assert status in (200, 400) and ("error" in text), text[:200]
    bomb = [{"jsonrpc": "2.0", "method": "server.info", "id": n} for n in range(5000)]
    status, text = ask(port, "POST", "/server/jsonrpc", bomb, [], here)
    assert "Invalid Request" in text or status == 413, text[:200]
    stream = open_socket(port, address=here)
    with pytest.raises(Exception):  # noqa: B017,PT011 - the connection ends in one way or another
        stream.send("x" * (16 << 20))
        while stream.recv():
            pass
    assert http("GET", f"http://127.0.0.1:{port}/server/info").ok


def test_slow_loris(unchanged):
    """Two hundred connections that send a byte now and then hold nobody up, and are ended."""
    port = unchanged["cc1"].port
    slow = [attacker.connect(port) for _ in range(200)]
    try:
        for round_ in range(4):
            for one in slow:
                try:
                    one.sendall(b"GET /server/info HTTP/1.1\r\nHost: x\r\nX-A:"[round_ * 4:round_ * 4 + 4])
                except OSError:
                    pass
            began = time.monotonic()
            assert http("GET", f"http://127.0.0.1:{port}/server/info").ok
            assert time.monotonic() - began < 10
            time.sleep(1)
        deadline = time.monotonic() + 40
        for one in slow:
            one.settimeout(max(1, deadline - time.monotonic()))
            try:
                while one.recv(4096):
                    pass
            except ConnectionError:
                pass
    finally:
        for one in slow:
            one.close()


def test_hostile_frames(house):
    """JSON-RPC that is none: every answer is an error or nothing, the socket and the gateway live."""
    port = house["cc1"].port
    for text in ["", "null", "[]", "{}", "1", '"x"', "[1]", "[[]]", '{"jsonrpc":"1.0"}', "\0", "{" * 5000,
                 '{"jsonrpc":"2.0","method":1,"id":1}', '{"jsonrpc":"2.0","method":"server.info","params":[1],"id":1}',
                 '{"jsonrpc":"2.0","method":"printer.objects.subscribe","params":{"objects":{"a":{"b":1}}},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.history.list","params":{"limit":-1,"start":1e300},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.history.list","params":{"limit":99999999999999999999},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.gcode_store","params":{"count":-5},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.files.metadata","params":{"filename":{}},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.database.post_item","params":{"namespace":"a","key":["x",1,{}],"value":1},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.connection.identify","params":{"client_name":[],"version":{},"type":"x","url":1},"id":1}',
                 '{"jsonrpc":"2.0","method":"printer.gcode.script","params":{"script":"' + "G1 X" * 50000 + '"},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.spoolman.proxy","params":{"request_method":"GET","path":"//evil/"},"id":1}',
                 '{"jsonrpc":"2.0","method":"server.webcams.test","params":{"name":"http://evil/"},"id":1}']:
        stream = open_socket(port, address="127.0.0.1")
        stream.send(text)
        assert rpc(stream, "server.info", identifier="alive")["result"], text[:100]
        stream.close()
        status, answer = ask(port, "POST", "/server/jsonrpc", text.encode(), [], "127.0.0.1")
        assert status < 500, (text[:100], answer[:300])
    stream = open_socket(port, address="127.0.0.1")
    stream.send_binary(b"\0\1\2")
    stream.ping(b"x" * 100)
    assert rpc(stream, "server.info", identifier="alive")["result"]
    # A frame that breaks the protocol of WebSockets ends that socket alone.
    stream.sock.sendall(b"\xff\xff" + b"\0" * 100)
    assert http("GET", f"http://127.0.0.1:{port}/server/info").ok


def test_the_address_of_the_attack_is_really_untrusted(house):
    """The control of all tests above: the same requests pass from 127.0.0.1."""
    port = house["cc1"].port
    assert ask(port, "GET", "/server/info")[0] == 401
    assert ask(port, "GET", "/server/info", None, [], "127.0.0.1")[0] == 200
    assert ask(port, "GET", "/server/info", None, [f"X-Forwarded-For: {ADDRESS}"], "127.0.0.1")[0] == 401
    assert ask(port, "GET", "/server/info", None, ["X-Forwarded-For: 127.0.0.1"])[0] == 401
