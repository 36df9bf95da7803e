"""A network between the gateway and a simulated printer that can be made bad: slow, lossy, half open, cut, garbled.

TCP keeps what it carries: a lost packet shows as a chunk that comes later, by the time of a retransmission, and
everything behind it waits. UDP loses it.
"""

import queue
import random
import socket
import threading
import time
from contextlib import contextmanager

# The first retransmission of a lost segment: 200 ms at least, about twice the way there and back.
RETRANSMISSION = 0.4
CHUNK = 16384


class Quality:
    """How the wires of one printer behave; changes count at once, for all of them."""

    def __init__(self, seed=1):
        self.delay = 0.0
        self.loss = 0.0
        self.held = False
        self.choices = random.Random(seed)

    def lateness(self):
        return self.delay + (RETRANSMISSION + self.delay if self.choices.random() < self.loss else 0.0)


class Wire:
    """One TCP port that leads to another."""

    def __init__(self, target, quality, place=("127.0.0.1", 0)):
        self.target = target
        self.quality = quality
        self.open = set()
        self.lock = threading.Lock()
        self.down = False
        self.truncate = 0
        self._listener = socket.create_server(place, backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                _reset(near)
                continue
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near):
        if self.quality.held:
            # As a host without power behind a switch: the connection opens, nobody answers.
            with self.lock:
                self.open.add((near, near))
            return
        try:
            far = socket.create_connection(self.target, timeout=5)
            far.settimeout(None)
        except OSError:
            _reset(near)
            return
        pair = (near, far)
        with self.lock:
            self.open.add(pair)
        for source, sink, to_gateway in ((near, far, False), (far, near, True)):
            pieces = queue.Queue(256)
            threading.Thread(target=self._read, args=(source, pieces), daemon=True).start()
            threading.Thread(target=self._write, args=(pieces, sink, pair, to_gateway), daemon=True).start()

    def _read(self, source, pieces):
        while True:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            pieces.put((time.monotonic() + self.quality.lateness(), data))
            if not data:
                return

    def _write(self, pieces, sink, pair, to_gateway):
        last = 0.0
        while True:
            due, data = pieces.get()
            # In order: nothing overtakes what is late.
            last = max(last, due)
            time.sleep(max(0.0, last - time.monotonic()))
            if self.quality.held:
                # Lost on the way, also the end of the connection.
                if not data:
                    return
                continue
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if to_gateway and self.truncate and len(data) > 8:
                    self.truncate -= 1
                    sink.sendall(data[: len(data) // 2])
                    self._end(pair)
                    return
                sink.sendall(data)
            except OSError:
                self._end(pair)
                return

    def _end(self, pair):
        with self.lock:
            self.open.discard(pair)
        for side in pair:
            _reset(side)

    def cut(self):
        """Resets every open connection."""
        with self.lock:
            pairs = list(self.open)
        for pair in pairs:
            self._end(pair)

    def say(self, data):
        """Puts bytes of our own into every open connection, towards the gateway."""
        with self.lock:
            pairs = list(self.open)
        for near, _ in pairs:
            try:
                near.sendall(data)
            except OSError:
                pass
        return len(pairs)

    def close(self):
        # A thread that waits in accept() holds the port open otherwise.
        _wake(self._listener)
        self.cut()


class Datagrams:
    """The same for one UDP port that answers questions, also those to everybody on this machine."""

    def __init__(self, target, quality, place=("127.0.0.1", 0)):
        self.target = target
        self.quality = quality
        self._socket = _datagram_socket(place)
        self.port = self._socket.getsockname()[1]
        self._everybody = _datagram_socket(("127.255.255.255", self.port))
        self.down = False
        for heard in (self._socket, self._everybody):
            threading.Thread(target=self._serve, args=(heard,), daemon=True).start()

    def _serve(self, heard):
        while True:
            try:
                question, asker = heard.recvfrom(65535)
            except OSError:
                return
            if self._lost():
                continue
            threading.Thread(target=self._ask, args=(question, asker), daemon=True).start()

    def _lost(self):
        quality = self.quality
        return self.down or quality.held or quality.choices.random() < quality.loss

    def _ask(self, question, asker):
        time.sleep(self.quality.delay)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.settimeout(3)
            try:
                far.sendto(question, self.target)
                answer = far.recv(65535)
                if not self._lost():
                    time.sleep(self.quality.delay)
                    self._socket.sendto(answer, asker)
            except OSError:
                pass

    def cut(self):
        pass

    def close(self):
        _wake(self._socket)
        _wake(self._everybody)


def _datagram_socket(place):
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # One that was just closed is there until its thread has noticed.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(place)
    return bound


def _wake(listening):
    """Closes a socket at which a thread waits."""
    try:
        listening.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    listening.close()


def _reset(connection):
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


class Wires:
    """All ways to one printer."""

    def __init__(self):
        self.quality = Quality()
        self.ways = {}

    def lead(self, service, target, datagrams=False):
        """The port that leads to `target`; a way that exists keeps its port and leads there from now on."""
        if service in self.ways:
            self.ways[service].target = target
        else:
            self.ways[service] = (Datagrams if datagrams else Wire)(target, self.quality)
        return self.ways[service].port

    def move(self, host):
        """The printer has this address from now on, with the same ports; nobody answers at the old one."""
        for service, way in list(self.ways.items()):
            way.close()
            self.ways[service] = type(way)(way.target, self.quality, (host, way.port))

    @contextmanager
    def bad(self, delay=0.0, loss=0.0):
        self.quality.delay, self.quality.loss = delay, loss
        try:
            yield
        finally:
            self.quality.delay = self.quality.loss = 0.0

    @contextmanager
    def half_open(self):
        """Everything is swallowed and nothing said, not even the end; afterwards the old connections are gone."""
        self.quality.held = True
        try:
            yield
        finally:
            self.cut()
            self.quality.held = False

    @contextmanager
    def down(self):
        for way in self.ways.values():
            way.down = True
        self.cut()
        try:
            yield
        finally:
            for way in self.ways.values():
                way.down = False

    def cut(self):
        for way in self.ways.values():
            way.cut()

    def close(self):
        for way in self.ways.values():
            way.close()
