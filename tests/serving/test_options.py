"""Which server, and what its flags go with."""

import pytest

from tf_prompt.serving.client.options import Address, ServerConfig, parse_address


@pytest.mark.parametrize(
    "server, expected",
    [
        ("localhost:8500", Address("grpc", "localhost", 8500)),
        ("10.0.0.7:1", Address("grpc", "10.0.0.7", 1)),
        ("[::1]:8500", Address("grpc", "[::1]", 8500)),
        ("http://localhost:8501", Address("http", "localhost", 8501)),
        ("https://example.org", Address("https", "example.org", 443)),
        ("http://example.org/", Address("http", "example.org", 80)),
        ("http://proxy:80/tf/", Address("http", "proxy", 80, "/tf")),
    ],
)
def test_address(server, expected):
    assert parse_address(server) == expected


@pytest.mark.parametrize(
    "server",
    [
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:70000",
        ":8500",
        "",
        "grpc://localhost:8500",
        "ftp://localhost:21",
        "localhost:8500/models",
        "http://localhost:8501/v1/models/m:predict",
        "http://me@localhost:8501",
    ],
)
def test_what_is_no_address(server):
    with pytest.raises(ValueError, match="server must be HOST:PORT for gRPC"):
        parse_address(server)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"model": "m"}, "model needs --server. Received: m"),
        ({"model_version": 1}, "model_version needs --server"),
        ({"tls": True}, "tls needs --server"),
        ({"ca_cert": "c"}, "ca_cert needs --server"),
        ({"server": "h:1", "timeout": 0.0}, "timeout must be positive"),
        ({"server": "h:1", "retries": -1}, "retries must not be negative"),
        (
            {"server": "h:1", "model_version": 1, "model_label": "stable"},
            "model_version and model_label exclude each other. Received: 1 and stable",
        ),
        (
            {"server": "h:1", "client_key": "k"},
            "client_cert and client_key must be given together",
        ),
        ({"server": "http://h:1", "tls": True}, "server must begin with https://"),
        ({"server": "http://h:1", "ca_cert": "c"}, "server must begin with https://"),
    ],
)
def test_flags_that_do_not_go_together(flags, message):
    with pytest.raises(ValueError, match=message):
        ServerConfig(**flags)


@pytest.mark.parametrize(
    "flags, is_encrypted",
    [
        ({"server": "h:1"}, False),
        ({"server": "http://h:1"}, False),
        ({"server": "https://h:1"}, True),
        ({"server": "h:1", "tls": True}, True),
        ({"server": "h:1", "ca_cert": "c"}, True),
        ({"server": "h:1", "client_cert": "c", "client_key": "k"}, True),
    ],
)
def test_what_is_encrypted(flags, is_encrypted):
    assert ServerConfig(**flags).is_encrypted == is_encrypted
