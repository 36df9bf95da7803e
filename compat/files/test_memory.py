"""Big files pass through the gateway without passing through its memory."""

import os

from harness import sliced
from harness.moonraker import http
from harness.waiting import wait_for

MIB = 1 << 20
# MOONGATE_BIG_MIB=1024 tries the gateway's own limit.
SIZE = int(os.environ.get("MOONGATE_BIG_MIB", "256")) * MIB
# More than buffers, queues and the directory of an archive take; far less than the file.
GROWTH = 48


class Body:
    """A multipart form whose file part is read from disk piece by piece: the test must not hold it either."""

    def __init__(self, path, name, print_it=False):
        boundary = "moongate-test-boundary"
        fields = {"root": "gcodes", "print": "true" if print_it else "false"}
        head = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
        head += (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                 "Content-Type: application/octet-stream\r\n\r\n")
        self.head, self.tail = head.encode(), f"\r\n--{boundary}--\r\n".encode()
        self.path = path
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}

    def __len__(self):
        return len(self.head) + self.path.stat().st_size + len(self.tail)

    def __iter__(self):
        yield self.head
        with open(self.path, "rb") as file:
            while piece := file.read(MIB):
                yield piece
        yield self.tail


def test_a_big_file_is_received_sent_and_printed_in_flat_memory(gateway, tmp_path):
    name, content = sliced.padded(gateway.printer.model, SIZE)
    path = tmp_path / name
    path.write_bytes(content)
    size = len(content)
    del content
    resident, _ = gateway.memory()
    gateway.forget_peak()
    body = Body(path, name)
    answer = http("POST", gateway.url + "/server/files/upload", seconds=600, data=body, headers=body.headers)
    assert answer.status_code == 201, answer.text
    _, received = gateway.memory()
    assert answer.json()["item"]["size"] == size
    started = gateway.post("/printer/print/start", json={"filename": name})
    assert started.ok, started.text
    wait_for(lambda: gateway.phase() in ("preparing", "printing", "complete"), "the big file prints", 900 + 3 * SIZE // MIB, 0.5)
    _, sent = gateway.memory()
    print(f"{gateway.printer.model}: {size / MIB:.0f} MiB; resident {resident:.1f}, after upload {received:.1f}, "
          f"after transfer {sent:.1f} MiB at most")
    assert gateway.printer.starts() == 1
    assert received - resident < GROWTH, f"receiving: {resident:.1f} -> {received:.1f} MiB"
    assert sent - resident < GROWTH, f"sending: {resident:.1f} -> {sent:.1f} MiB"
