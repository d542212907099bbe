"""The options of the client: server, model, timeout, retries, certificates."""

import dataclasses
import pathlib
import ssl
import urllib.parse

from tf_prompt.options import option, require_not_negative, require_positive

# The name of an exported run of `fit` without flags; equals `FitConfig.preset`.
DEFAULT_MODEL = "transformer_tiny"


@dataclasses.dataclass(frozen=True)
class Address:
    """The address of a server.

    Attributes:
        scheme: `grpc`, `http` or `https`.
        host: name or IP address; IPv6 addresses in brackets.
        port: int, 1 to 65535.
        prefix: for REST, the path before `/v1`, as behind a proxy.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def target(self) -> str:
        """`HOST:PORT`."""
        return f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Options of a model on a server."""

    server: str | None = option(
        None,
        "TF Serving's address: HOST:PORT for gRPC, http://HOST:PORT or "
        "https://HOST:PORT for REST",
        metavar="ADDRESS",
        group="server",
    )
    model: str | None = option(
        None,
        f"server: name of the model (default: {DEFAULT_MODEL})",
        metavar="NAME",
    )
    model_version: int | None = option(
        None, "server: version of the model (default: the latest)"
    )
    model_label: str | None = option(
        None,
        "server: label of the model's version, such as stable",
        metavar="LABEL",
    )
    timeout: float = option(30.0, "server: timeout of a call in seconds")
    retries: int = option(
        3, "server: retries when the server is unreachable, slow or overloaded"
    )
    tls: bool = option(False, "server: encrypt gRPC; REST is encrypted by https://")
    ca_cert: str | None = option(
        None,
        "server: PEM file of the authorities to trust, instead of the system's; "
        "implies --tls",
        metavar="FILE",
    )
    client_cert: str | None = option(
        None,
        "server: PEM file of your certificate, if the server asks for one; implies "
        "--tls",
        metavar="FILE",
    )
    client_key: str | None = option(
        None, "server: PEM file of your certificate's key", metavar="FILE"
    )

    def __post_init__(self):
        require_positive(self, "timeout", "model_version")
        require_not_negative(self, "retries")
        if self.server is None:
            self._require_no_server_flags()
            return
        address = parse_address(self.server)
        if self.model_version is not None and self.model_label is not None:
            raise ValueError(
                "model_version and model_label exclude each other. "
                f"Received: {self.model_version} and {self.model_label}"
            )
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError(
                "client_cert and client_key must be given together. "
                f"Received: {self.client_cert} and {self.client_key}"
            )
        if address.scheme == "http" and self.is_encrypted:
            raise ValueError(
                "server must begin with https:// if --tls or a certificate is given. "
                f"Received: {self.server}"
            )

    @property
    def model_name(self) -> str:
        """Name of the model on the server."""
        return self.model or DEFAULT_MODEL

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        is_https = self.server is not None and self.server.startswith("https://")
        return self.tls or is_https or bool(self.ca_cert or self.client_cert)

    def _require_no_server_flags(self) -> None:
        names = ("model", "model_version", "model_label", "tls")
        for name in (*names, "ca_cert", "client_cert", "client_key"):
            if getattr(self, name):
                raise ValueError(
                    f"{name} needs --server. Received: {getattr(self, name)}"
                )


def parse_address(server: str) -> Address:
    """Parses the address of a server.

    Args:
        server: `HOST:PORT`, or an http or https URL.

    Raises:
        ValueError: if it is neither.
    """
    is_url = "://" in server
    try:
        parts = urllib.parse.urlsplit(server if is_url else f"grpc://{server}")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        if parts.scheme not in (("http", "https") if is_url else ("grpc",)):
            raise ValueError(parts.scheme)
        host, prefix = parts.hostname, parts.path.rstrip("/")
        more = parts.query or parts.fragment or parts.username is not None
        if not host or more or (prefix and not is_url) or "/v1/" in f"{prefix}/":
            raise ValueError(host)
    except (ValueError, KeyError) as error:
        raise ValueError(
            "server must be HOST:PORT for gRPC, or http://HOST:PORT or "
            f"https://HOST:PORT for REST, without model. Received: {server}"
        ) from error
    host = f"[{host}]" if ":" in host else host
    return Address(parts.scheme, host, port, prefix)


def build_ssl_context(options: ServerConfig) -> ssl.SSLContext:
    """Loads the certificates named in the options.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is not a certificate or key in PEM format.
    """
    for name in ("ca_cert", "client_cert", "client_key"):
        path = getattr(options, name)
        if path is not None and not pathlib.Path(path).is_file():
            raise FileNotFoundError(f"{name} must be a PEM file. Received: {path}")
    names = f"{options.ca_cert}, {options.client_cert}, {options.client_key}"
    try:
        context = ssl.create_default_context(cafile=options.ca_cert)
        if options.client_cert is not None:
            context.load_cert_chain(options.client_cert, options.client_key)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            "ca_cert, client_cert and client_key must be PEM files, and the key must "
            f"match the certificate. Received: {names}: {error}"
        ) from error
    return context
