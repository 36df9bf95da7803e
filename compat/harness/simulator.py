"""The control port of a simulated printer: what it knows and the faults it can be given."""

import json
import socket


class Simulator:
    """One line of JSON out, one line back, on a connection of its own."""

    def __init__(self, host, port):
        self.address = (host, port)

    def ask(self, request, seconds=10.0):
        with socket.create_connection(self.address, timeout=seconds) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = lines.readline(1 << 20)
        if not answer:
            raise AssertionError(f"the simulator closed its control port on {request}")
        return json.loads(answer)

    def fault(self, name, **details):
        """Gives the printer a fault; fails when the simulator does not know it."""
        answer = self.ask({"fault": name, **details})
        assert answer.get("ok", True) is not False, f"simulator refused fault {name!r}: {answer}"
        return answer

    def truth(self):
        """The machine's own state, independent of what it told anybody."""
        return self.ask({"truth": True})
