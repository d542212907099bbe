"""A hub that speaks as much of Hugging Face's protocol as runs need."""

import base64
import hashlib
import json
import re

from tests.serving.hub_server import HubHandler, HubServer

TOKEN = "hf_secret"


class Hub(HubServer):
    """Repositories in memory.

    Attributes:
        commits: by repository, its commits: a dict of files each.
    """

    def __init__(self):
        super().__init__(_Handler)
        self.commits: dict[str, list[dict[str, bytes]]] = {}

    def find(self, name: str, revision: str):
        """Sha and files of a revision; None if there is none."""
        commits = self.commits.get(name, [])
        for number, files in enumerate(commits):
            sha = sha_of(name, number)
            is_newest = number == len(commits) - 1
            if revision == sha or (revision == "main" and is_newest):
                return sha, files
        return None


def sha_of(name: str, number: int) -> str:
    """A commit's name: 40 hex digits."""
    return hashlib.sha1(f"{name}/{number}".encode()).hexdigest()


def blob_of(content: bytes) -> str:
    """A file's name in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(HubHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(found[1], found[2] or "main")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?", path):
            self._tree(*found.groups())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*found.groups())
        else:
            self.say(404, {"error": path})

    def do_POST(self):
        body = self.read_body()
        path = self.path.partition("?")[0]
        if not self.is_from(TOKEN):
            self.say(401, {"error": "who are you?"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.say(200, {"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = [file["path"] for file in json.loads(body)["files"]]
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            self.say(200, {"files": [{"path": name, **mode} for name in files]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(found[1], body)
        else:
            self.say(404, {"error": path})

    def _create(self, content):
        name = f"{content.get('organization') or 'me'}/{content['name']}"
        status = 409 if name in self.hub.commits else 200
        self.hub.commits.setdefault(name, [])
        private = content.get("visibility") == "private" or content.get("private")
        self.hub.private.setdefault(name, private)
        self.say(status, {"url": f"{self.hub.address}/{name}", "id": name})

    def _commit(self, name, body):
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        files = dict((self.hub.commits[name] or [{}])[-1])
        for line in lines:
            if line["key"] == "file":
                value = line["value"]
                files[value["path"]] = base64.b64decode(value["content"])
        self.hub.commits[name].append(files)
        sha = sha_of(name, len(self.hub.commits[name]) - 1)
        url = f"{self.hub.address}/{name}/commit/{sha}"
        self.say(200, {"success": True, "commitOid": sha, "commitUrl": url})

    def _info(self, name, revision):
        found = self.hub.find(name, revision)
        if found is None:
            self._say_absent(name)
            return
        files = [{"rfilename": path} for path in found[1]]
        self.say(200, {"id": name, "sha": found[0], "siblings": files})

    def _tree(self, name, revision):
        _, files = self.hub.find(name, revision)
        rows = [
            {"type": "file", "path": path, "size": len(data), "oid": blob_of(data)}
            for path, data in files.items()
        ]
        self.say(200, rows)

    def _file(self, name, revision, path):
        sha, files = self.hub.find(name, revision) or ("", {})
        if path not in files:
            self._say_absent(name, "EntryNotFound")
            return
        self.hub.downloads.append(path)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{blob_of(files[path])}"'}
        self.send(200, files[path], headers)

    def _say_absent(self, name, code="RevisionNotFound"):
        code = code if self.hub.commits.get(name) else "RepoNotFound"
        headers = {"X-Error-Code": code}
        self.send(404, b'{"error": "absent"}', headers)
