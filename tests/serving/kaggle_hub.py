"""A hub that speaks as much of Kaggle's protocol as runs need."""

import json

from tests.serving.hub_server import HubHandler, HubServer

TOKEN = "kaggle_secret"


class Hub(HubServer):
    """Models in memory.

    Attributes:
        versions: by OWNER/MODEL/VARIATION, its versions: a dict of files each.
        notes: of the versions after the first.
    """

    def __init__(self):
        super().__init__(_Handler)
        self.versions: dict[str, list[dict[str, bytes]]] = {}
        self.notes: list[str] = []
        # By token, name and content of uploaded files.
        self.blobs: dict[str, tuple[str, bytes]] = {}


class _Handler(HubHandler):
    def do_POST(self):
        content = json.loads(self.read_body())
        if not self.is_from(TOKEN):
            self.say(401, {"message": "who are you?"})
            return
        # Such as /v1/models.ModelApiService/GetModel.
        getattr(self, "_" + self.path.rpartition("/")[2])(content)

    def do_PUT(self):
        token = self.path.rpartition("/")[2]
        self.hub.blobs[token] = (self.hub.blobs[token][0], self.read_body())
        self.send(200, b"")

    def do_GET(self):
        key, version, path = self.path.removeprefix("/storage/").split(":")
        self.hub.downloads.append(path)
        self.send(200, self.hub.versions[key][int(version) - 1][path])

    def _GetModel(self, content):
        name = f"{content['ownerSlug']}/{content['modelSlug']}"
        self.say(200 if name in self.hub.private else 404, {"slug": name})

    def _CreateModel(self, content):
        name = f"{content['ownerSlug']}/{content['slug']}"
        self.hub.private[name] = content.get("isPrivate", False)
        self.say(200, {"ref": name})

    def _StartBlobUpload(self, content):
        token = f"blob-{len(self.hub.blobs)}"
        self.hub.blobs[token] = (content["name"], b"")
        self.say(
            200, {"token": token, "createUrl": f"{self.hub.address}/upload/{token}"}
        )

    def _CreateModelInstance(self, content):
        body = content["body"]
        key = self._key(content | body)
        if key in self.hub.versions:
            self.say(200, {"error": "it exists", "errorCode": 409})
            return
        self.hub.versions[key] = [self._files(body)]
        self.say(200, {"ref": key})

    def _CreateModelInstanceVersion(self, content):
        self.hub.versions[self._key(content)].append(self._files(content["body"]))
        self.hub.notes.append(content["body"]["versionNotes"])
        self.say(200, {"ref": self._key(content)})

    def _GetModelInstance(self, content):
        versions = self.hub.versions.get(self._key(content), [])
        self.say(200 if versions else 404, {"versionNumber": len(versions)})

    def _ListModelInstanceVersionFiles(self, content):
        versions = self.hub.versions.get(self._key(content), [])
        number = content["versionNumber"]
        files = versions[number - 1] if number <= len(versions) else []
        self.say(200 if files else 404, {"files": [{"name": name} for name in files]})

    def _DownloadModelInstanceVersion(self, content):
        place = f"{self._key(content)}:{content['versionNumber']}:{content['path']}"
        self.send(302, b"", {"Location": f"{self.hub.address}/storage/{place}"})

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
