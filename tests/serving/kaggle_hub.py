"""A hub that speaks as much of Kaggle's protocol as runs need."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "kaggle_secret"


class Hub:
    """Models in memory.

    Attributes:
        address: of the hub.
        private: by OWNER/MODEL, whether it was made private.
        versions: by OWNER/MODEL/VARIATION, its versions: a dict of files each.
        notes: of the versions after the first.
        downloads: paths that were read.
    """

    def __init__(self):
        self.private: dict[str, bool] = {}
        self.versions: dict[str, list[dict[str, bytes]]] = {}
        self.notes: list[str] = []
        self.downloads: list[str] = []
        # By token, name and content of uploaded files.
        self.blobs: dict[str, tuple[str, bytes]] = {}
        handler = type("BoundHandler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_POST(self):
        content = json.loads(self._body())
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say({"message": "who are you?"}, 401)
            return
        # Such as /v1/models.ModelApiService/GetModel.
        getattr(self, "_" + self.path.rpartition("/")[2])(content)

    def do_PUT(self):
        token = self.path.rpartition("/")[2]
        self.hub.blobs[token] = (self.hub.blobs[token][0], self._body())
        self._send(200, b"")

    def do_GET(self):
        key, version, path = self.path.removeprefix("/storage/").split(":")
        self.hub.downloads.append(path)
        self._send(200, self.hub.versions[key][int(version) - 1][path])

    def _GetModel(self, content):
        name = f"{content['ownerSlug']}/{content['modelSlug']}"
        self._say({"slug": name}, 200 if name in self.hub.private else 404)

    def _CreateModel(self, content):
        name = f"{content['ownerSlug']}/{content['slug']}"
        self.hub.private[name] = content.get("isPrivate", False)
        self._say({"ref": name})

    def _StartBlobUpload(self, content):
        token = f"blob-{len(self.hub.blobs)}"
        self.hub.blobs[token] = (content["name"], b"")
        self._say({"token": token, "createUrl": f"{self.hub.address}/upload/{token}"})

    def _CreateModelInstance(self, content):
        body = content["body"]
        key = self._key(content | body)
        if key in self.hub.versions:
            self._say({"error": "it exists", "errorCode": 409})
            return
        self.hub.versions[key] = [self._files(body)]
        self._say({"ref": key})

    def _CreateModelInstanceVersion(self, content):
        self.hub.versions[self._key(content)].append(self._files(content["body"]))
        self.hub.notes.append(content["body"]["versionNotes"])
        self._say({"ref": self._key(content)})

    def _GetModelInstance(self, content):
        versions = self.hub.versions.get(self._key(content), [])
        self._say({"versionNumber": len(versions)}, 200 if versions else 404)

    def _ListModelInstanceVersionFiles(self, content):
        versions = self.hub.versions.get(self._key(content), [])
        number = content["versionNumber"]
        files = versions[number - 1] if number <= len(versions) else []
        self._say({"files": [{"name": name} for name in files]}, 200 if files else 404)

    def _DownloadModelInstanceVersion(self, content):
        place = f"{self._key(content)}:{content['versionNumber']}:{content['path']}"
        self._send(302, b"", {"Location": f"{self.hub.address}/storage/{place}"})

    def _key(self, content):
        assert content["framework"] == "MODEL_FRAMEWORK_KERAS"
        names = ("ownerSlug", "modelSlug", "instanceSlug")
        return "/".join(content[name] for name in names)

    def _files(self, folder, prefix=""):
        files = {}
        for file in folder.get("files", ()):
            name, data = self.hub.blobs[file["token"]]
            files[prefix + name] = data
        for child in folder.get("directories", ()):
            files |= self._files(child, f"{prefix}{child['name']}/")
        return files

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _say(self, content, status=200):
        self._send(status, json.dumps(content).encode())

    def _send(self, status, body, headers=None):
        self.send_response(status)
        all_headers = {**(headers or {}), "Content-Length": str(len(body))}
        for key, value in all_headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
