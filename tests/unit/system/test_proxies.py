"""Through which proxy a URL is reached, and that nothing in the environment ends in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.check.check import check_all
from receipt_watcher.cli.demo.stand_in import WRONG_KEY
from receipt_watcher.config.options import Config
from receipt_watcher.config.proxies import ENVIRONMENT, NONE, Proxies
from receipt_watcher.config.sources.load import load
from receipt_watcher.delivery.destinations import Deferred
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import outcome_of
from receipt_watcher.errors import ConfigError, NotSentError
from receipt_watcher.service.clients import n8n_client, notice_client
from tests.conftest import TOKEN
from tests.unit.delivery.destinations.far_side import FarSide, Line, post

PROXY = "http://proxy.office.lan:3128"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the proxies of the machine that runs the tests."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def chosen(url: str, option: str = ENVIRONMENT, n8n_url: str = "", **environ: str) -> str | None:
    """Return the proxy that a URL is reached through."""
    return Proxies(option, [n8n_url or url], environ).choice_for(url).url


def configured(root: Path, webhook_url: str, **n8n: str) -> Config:
    """Return a configuration whose folders are all there."""
    for name in ("inbox", "processing", "done", "failed"):
        (root / name).mkdir(exist_ok=True)
    text = {
        "inboxes": [{"path": str(root / "inbox"), "name": "office"}],
        "n8n": {"webhook_url": webhook_url, **n8n},
        "callback": {"secret_token": TOKEN},
        "state_dir": str(root / "state"),
        "http": {"port": 0, "public_url": "http://127.0.0.1:9"},
    }
    path = root / "watcher.yaml"
    path.write_text(yaml.safe_dump(text))
    return load(path, {})


# --- which one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exception", "url", "is_direct"),
    [
        ("10.0.0.0/8", "http://10.1.2.3/webhook", True),
        ("10.0.0.0/8", "http://11.1.2.3/webhook", False),
        ("10.1.2.3/8", "http://10.9.9.9/webhook", True),
        ("10.0.0.0/8:8443", "https://10.1.2.3:8443/webhook", True),
        ("10.0.0.0/8:8443", "https://10.1.2.3/webhook", False),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/webhook", True),
        ("10.0.0.0/8", "http://n8n.office.lan/webhook", False),
        ("fd00::/8", "http://[fd00::7]/webhook", True),
        ("[fd00::/8]", "http://[fd00::7]/webhook", True),
        ("[fd00::]/8", "http://[fd00::7]/webhook", True),
        ("fd00::/8", "http://[fe80::7]/webhook", False),
        ("::1/128", "http://[::1]:5678/webhook", True),
        ("[::1]", "http://[::1]:5678/webhook", True),
        ("::1", "http://[::1]:5678/webhook", True),
        ("0:0:0:0:0:0:0:1", "http://[::1]:5678/webhook", True),
        ("[::1]:5678", "http://[::1]:5678/webhook", True),
        ("[::1]:5678", "http://[::1]:5679/webhook", False),
        ("127.0.0.1", "http://127.0.0.1:5678/webhook", True),
        ("127.0.0.1:80", "http://127.0.0.1/webhook", True),
        ("127.0.0.1:80", "https://127.0.0.1/webhook", False),
        ("office.lan", "http://n8n.office.lan/webhook", True),
        ("office.lan", "http://office.lan/webhook", True),
        ("office.lan", "http://backoffice.lan/webhook", False),
        (".office.lan", "http://n8n.office.lan/webhook", True),
        ("*.office.lan", "http://n8n.office.lan/webhook", True),
        ("OFFICE.LAN.", "http://N8N.office.lan./webhook", True),
        ("büro.example", "http://n8n.xn--bro-hoa.example/webhook", True),
        ("n8n:5678", "http://n8n:5678/webhook", True),
        ("n8n:5678", "http://n8n/webhook", False),
        ("localhost, 10.0.0.0/8 office.lan", "http://n8n.office.lan/webhook", True),
        ("*", "https://anything.example/webhook", True),
        ("", "http://n8n/webhook", False),
        (",", "http://n8n/webhook", False),
        ("10.0.0.0/99,[,]:,::1/999,/,*.,[::1", "http://n8n/webhook", False),
    ],
)
def test_no_proxy_knows_hosts_addresses_and_networks(exception: str, url: str, is_direct: bool) -> None:
    """NO_PROXY is understood as curl does: host suffixes, addresses and networks of both families, ports, and *."""
    assert chosen(url, ALL_PROXY=PROXY, NO_PROXY=exception) == (None if is_direct else PROXY)
    assert chosen(url, all_proxy=PROXY, no_proxy=exception) == (None if is_direct else PROXY)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"HTTP_PROXY": PROXY}, PROXY),
        ({"http_proxy": PROXY, "HTTP_PROXY": "http://other"}, PROXY),
        ({"HTTPS_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"HTTP_PROXY": "http://first", "ALL_PROXY": PROXY}, "http://first"),
        ({"http_proxy": "", "HTTP_PROXY": PROXY}, None),
        ({"HTTP_PROXY": PROXY, "no_proxy": "", "NO_PROXY": "*"}, PROXY),
        ({"HTTP_PROXY": "proxy.office.lan:3128"}, PROXY),
        ({}, None),
    ],
)
def test_variables_in_lower_case_win(environ: dict[str, str], proxy: str | None) -> None:
    """The variable of the scheme comes before ALL_PROXY, and lower case before capitals, as in curl."""
    assert chosen("http://n8n/webhook", **environ) == proxy


def test_the_option_holds_for_the_servers_of_n8n_alone() -> None:
    """n8n.proxy overrules the environment for N8N's servers; the identity provider is reached as before."""
    n8n, provider = "https://n8n.office.lan/webhook/x", "https://login.example.com/keys"
    assert chosen(n8n, NONE, HTTPS_PROXY=PROXY) is None
    assert chosen(n8n, "http://own:1", HTTPS_PROXY=PROXY, NO_PROXY="*") == "http://own:1"
    assert chosen("https://n8n.office.lan/healthz", NONE, n8n, HTTPS_PROXY=PROXY) is None
    assert chosen(provider, NONE, n8n, HTTPS_PROXY=PROXY) == PROXY
    assert chosen(provider, "http://own:1", n8n) is None


@given(st.text(alphabet="[]:/*.,%@ 019afFx\t-ü", max_size=30))
def test_no_text_in_no_proxy_raises(text: str) -> None:
    """Whatever NO_PROXY holds, each URL has its proxy or none."""
    for url in ("http://[::1]:1/x", "https://10.1.2.3/x", "http://n8n.office.lan/x"):
        assert chosen(url, ALL_PROXY=PROXY, NO_PROXY=text) in (None, PROXY)


def test_no_password_of_a_proxy_is_told() -> None:
    """User and password of a proxy's URL stand in nothing that is shown."""
    choice = Proxies(ENVIRONMENT, [], {"HTTP_PROXY": "http://anna:s3cret/@proxy:3128/"}).choice_for("http://n8n/x")
    assert choice.proxy == "http://proxy:3128"
    assert "s3cret" not in repr(choice) + choice.in_words


# --- real clients --------------------------------------------------------------------------------------------------


def forward(status: str, body: bytes, *lines: str) -> FarSide:
    """Return a proxy that answers every plain request by itself."""

    def serve(line: Line) -> None:
        while line.read():
            line.answer(status, body, *lines)

    return FarSide(serve)


@pytest.mark.parametrize("exception", ["::1/128", "[::1]", "127.0.0.0/8", "[", "*", "::1/128,127.0.0.0/8"])
def test_a_client_is_made_whatever_no_proxy_holds(monkeypatch: pytest.MonkeyPatch, exception: str) -> None:
    """Entries at which httpx crashes are understood, and a network leads past the proxy, with receipt and API key."""
    with FarSide() as n8n, forward("403 Forbidden", b"no") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", exception)
        with Outbound(timeout_seconds=20, connections=1) as outbound:
            is_direct = post(outbound, n8n.url).status == 200
        assert is_direct == (exception == "*" or "127.0.0.0/8" in exception)
        assert [len(side.arrived) for side in (n8n, proxy)] == ([1, 0] if is_direct else [0, 1])


def test_a_refusal_by_the_proxy_is_no_wrong_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's own 403 is told as that, and n8n's, which comes through the proxy, as a wrong credential."""
    page = b"<html><title>ERROR: Access Denied</title></html>"
    for status, body in (("403 Forbidden", page), ("407 Proxy Authentication Required", b""), ("503 No", page)):
        with forward(status, body, "Content-Type: text/html") as proxy, monkeypatch.context() as patch:
            patch.setenv("HTTP_PROXY", f"http://u:s3cret@127.0.0.1:{proxy.port}")
            with Outbound(timeout_seconds=20, connections=1) as outbound:
                outcome = outcome_of(post(outbound, "http://n8n.office.lan/webhook/receipts"), 0.0)
            assert isinstance(outcome, Deferred)
            assert not outcome.is_ambiguous
            assert f"proxy http://127.0.0.1:{proxy.port} (environment variable HTTP_PROXY)" in outcome.message
            assert "credential" not in outcome.message
            assert "s3cret" not in outcome.message
    with forward("403 Forbidden", WRONG_KEY.body) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        with Outbound(timeout_seconds=20, connections=1) as outbound:
            outcome = outcome_of(post(outbound, "http://n8n.office.lan/webhook/receipts"), 0.0)
        assert "credential differs" in outcome.message


def test_a_proxy_that_makes_no_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An https URL that the proxy does not connect to says which proxy refused, and which variable names it."""
    with forward("403 Forbidden", b"no") as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with (
            Outbound(timeout_seconds=20, connections=1) as outbound,
            pytest.raises(
                NotSentError, match=r"the proxy http://127\.0\.0\.1:\d+ \(environment variable https_proxy\)"
            ),
        ):
            post(outbound, "https://n8n.office.lan/webhook/receipts")


def test_check_names_the_proxy_of_each_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` says of each URL how it is reached and what decided that, and warns of what NO_PROXY cannot mean."""
    with FarSide() as n8n, forward("403 Forbidden", b"no") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/99")
        address = f"http://127.0.0.1:{n8n.port}"
        through = f"N8N at {address} is reached through the proxy http://127.0.0.1:{proxy.port} "
        said = {found.what: found for found in check_all(configured(tmp_path, n8n.url))}
        found = said[f"{through}(environment variable HTTP_PROXY)"]
        assert (found.level, "add 127.0.0.1 to NO_PROXY" in found.advice) == ("warning", True)
        assert said["NO_PROXY: '10.0.0.0/99' is no host, address or network, and matches nothing"].level == "warning"
        assert any(f"answers through the proxy http://127.0.0.1:{proxy.port}" in what for what in said)
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        said = {found.what: found for found in check_all(configured(tmp_path, n8n.url))}
        assert f"N8N at {address} is reached directly (NO_PROXY has 127.0.0.0/8)" in said
        said = {found.what: found for found in check_all(configured(tmp_path, n8n.url, proxy="none"))}
        assert f"N8N at {address} is reached directly (n8n.proxy)" in said


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://", "http://proxy:0", "http://proxy:99999", "http://[::1", "ftp://proxy", "socks4://proxy:1", "://", "a b"],
)
def test_a_bad_proxy_is_a_mistake_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A proxy that cannot be used is told with its variable or option, before anything is sent."""
    monkeypatch.setenv("HTTP_PROXY", url)
    config = configured(tmp_path, "http://n8n.office.lan/webhook/x")
    with pytest.raises(ConfigError, match=r"environment variable HTTP_PROXY: HTTP_PROXY: .* is no URL of a proxy"):
        n8n_client(config, timeout_seconds=1, connections=1)
    notice_client(config).close()  # it is to reach nothing
    with pytest.raises(ConfigError, match=r"n8n\.proxy: .* is no URL of a proxy"):
        configured(tmp_path, "http://n8n/x", proxy=url)


def test_a_proxy_that_is_not_used_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken proxy of another scheme, or one that NO_PROXY leads past, is of no concern."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy")
    monkeypatch.setenv("HTTP_PROXY", "ftp://proxy")
    monkeypatch.setenv("NO_PROXY", "n8n.office.lan")
    n8n_client(configured(tmp_path, "http://n8n.office.lan/webhook/x"), timeout_seconds=1, connections=1).close()


def test_a_missing_package_for_socks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without socksio a SOCKS proxy is a mistake of the configuration that says what to install."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    with pytest.raises(ConfigError, match=r"ALL_PROXY: .* needs the package socksio; pip install 'httpx\[socks\]'"):
        Outbound(timeout_seconds=1, connections=1, urls=["http://n8n/webhook"])


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
def test_certificates_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A variable of TLS that points nowhere is a mistake that names the variable and the path."""
    for each in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, str(tmp_path / "gone" / "x"))
    with pytest.raises(ConfigError, match=f"environment variable {name}: {name}: {tmp_path}/gone/x cannot be used"):
        Outbound(timeout_seconds=1, connections=1)


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"HTTP_PROXY": "http://proxy:99999"}, 2, "environment variable HTTP_PROXY: HTTP_PROXY"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, 2, "environment variable SSL_CERT_FILE: SSL_CERT_FILE"),
        (
            {"NO_PROXY": "::1/128,[::1],127.0.0.0/8", "HTTP_PROXY": "http://127.0.0.1:1", "TZ": "No/Where"}
            | {"LC_ALL": "xx_YY.nonsense", "LANG": "\udcff", "TMPDIR": "/nowhere", "COLUMNS": "wide", "TERM": "\n"}
            | {"WATCHDOG_USEC": "9" * 5000, "NOTIFY_SOCKET": "/nowhere/" + "n" * 200, "JOURNAL_STREAM": "x:y"}
            | {"LISTEN_FDS": "9" * 5000, "LISTEN_PID": "x", "XDG_STATE_HOME": "\udcff", "CREDENTIALS_DIRECTORY": "/no"},
            0,
            "",
        ),
    ],
)
def test_the_environment_never_gives_a_traceback(
    tmp_path: Path, environment: dict[str, str], code: int, said: str
) -> None:
    """The real program either works or says in words which variable is wrong, and exits with 2."""
    with FarSide() as n8n:
        configured(tmp_path, n8n.url)
        ran = subprocess.run(
            [sys.executable, "-m", "receipt_watcher", "run", "--once", "--config", str(tmp_path / "watcher.yaml")],
            env={"PATH": os.environ["PATH"], **environment},  # without HOME
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, "Traceback" in ran.stdout + ran.stderr) == (code, False), ran.stderr
    assert said in ran.stderr
