"""What the front ends of one printer show, for whoever has its Moonraker port as `url`."""

from harness.moonraker import Moonraker, http
from harness.waiting import wait_for


class FrontEnds:
    """Answers of one printer's port; `url` is the user's of this class to set."""

    def moonraker(self, **options):
        return Moonraker(self.url, **options)

    def get(self, path):
        answer = http("GET", self.url + path)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()["result"]

    def post(self, path, **options):
        return http("POST", self.url + path, seconds=150, **options)

    def upload(self, name, content, **fields):
        """As Mainsail does it; the answer is the caller's to look at."""
        return self.post("/server/files/upload", data={"root": "gcodes", **fields}, files={"file": (name, content)})

    def octoprint(self, path):
        return http("GET", f"{self.url}/api/{path}")

    def ready(self):
        return self.get("/server/info")["klippy_state"] == "ready"

    def wait_online(self, seconds=60):
        wait_for(self.ready, f"{self.url} is online", seconds)

    def query(self, *objects):
        return self.get("/printer/objects/query?" + "&".join(objects))["status"]

    def print_state(self):
        return self.query("print_stats")["print_stats"]["state"]

    def until_state(self, *wanted, seconds=90):
        return wait_for(lambda: (state := self.print_state()) in wanted and state, f"one of {wanted}", seconds)

    def history(self):
        """Every entry, the newest first."""
        return self.get("/server/history/list?limit=1000&order=desc")["jobs"]

    def files(self):
        """Paths of the library; what lies on the printer itself appears below `printer/` as it is listed."""
        paths = {file["path"] for file in self.get("/server/files/list?root=gcodes")}
        return {path for path in paths if not path.startswith("printer/")}

    def printer_files(self):
        """Names on the printer's own storage, asked of the printer now."""
        listed = http("GET", f"{self.url}/server/files/directory?path=gcodes/printer")
        if not listed.ok:
            return None
        return sorted(file["filename"] for file in listed.json()["result"]["files"])
