"""The sources of values, and the words about mistakes."""

from __future__ import annotations

import json
import re
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from receipt_watcher.cli.documents.example import example_yaml
from receipt_watcher.config.secrets import redacted
from receipt_watcher.config.sources.load import find_config_file, load
from receipt_watcher.config.sources.merged import NOT_SET_CREDENTIAL, SHORT_NAMES
from receipt_watcher.errors import ConfigError, Problem

MINIMAL = "inboxes: [{path: /x/inbox}]\nn8n: {webhook_url: http://n8n/hook}\n"
SECRET = "Tr0ub4dor-and-3-horses"
HOME = {"HOME": "/home/admin"}


def written(folder: Path, text: str | bytes) -> Path:
    """Return a configuration file with this text."""
    path = folder / "watcher.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(path: Path | None, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """Return what `load` complains of; nothing that pydantic said hangs on the error."""
    with pytest.raises(ConfigError) as caught:
        load(path, {**HOME, **(environ or {})})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value.problems


def texts(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the complaints as the admin reads them."""
    return [str(problem).replace(str(path), "watcher.yaml") for problem in problems(path, environ)]


def test_five_mistakes_are_five_problems(tmp_path: Path) -> None:
    """All mistakes are told at once: file, key, what is wrong, what would be right."""
    path = written(
        tmp_path,
        """
inboxes:
  - path: /x/inbox
    settle_secs: 2
    poll_seconds: fast
    notion_database_id: 0123
n8n:
  webhook_url: n8n.example.com/hook
  backoff_initial_seconds: 1000
""",
    )
    assert sorted(texts(path)) == [
        (
            'watcher.yaml: inboxes[0].notion_database_id: "0123" is read by YAML as a number, a date or yes/no; '
            'put it in quotes: "…"'
        ),
        'watcher.yaml: inboxes[0].poll_seconds: "fast" cannot be used; give a number of seconds from 0.1 to 3600',
        'watcher.yaml: inboxes[0].settle_secs: is no option; did you mean "settle_seconds"?',
        (
            "watcher.yaml: n8n.backoff_max_seconds: is less than n8n.backoff_initial_seconds; "
            "make it the larger of the two"
        ),
        (
            'watcher.yaml: n8n.webhook_url: "n8n.example.com/hook" is no URL; '
            "write it whole: http:// or https://, the host, the path"
        ),
    ]


ADVICE_YAML = "check indentation (spaces, no tabs), colons and quotes; text with any of * & ! % @ # : needs quotes"
LIST_RULE = "give a list of one inbox or more, such as - path: /srv/receipts/inbox"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "whole file: is empty; start from watcher.example.yaml"),
        ("# all commented out\n", "whole file: is empty; start from watcher.example.yaml"),
        ("- path: /x\n", "whole file: is not made of options; start from watcher.example.yaml"),
        ("inboxes", "whole file: is not made of options; start from watcher.example.yaml"),
        (b"\xff\xfei\x00", "whole file: is not UTF-8 at byte 1; save it as UTF-8"),
        ("a: b\n\tc: d\n", f"line 2, column 1: cannot be read as YAML; {ADVICE_YAML}"),
        ("a: b\nc: \x01\n", f"line 2, column 4: cannot be read as YAML; {ADVICE_YAML}"),
        ('a: "\\ud800"', f"line 1, column 4: cannot be read as YAML; {ADVICE_YAML}"),
        ("[" * 1000, "whole file: is nested too deeply; start from watcher.example.yaml"),
        (MINIMAL + "limits: {}\nlimits: {}\n", 'line 4: "limits" is there a second time; keep one of them'),
        ("n8n: {}", f"inboxes: is missing; {LIST_RULE}"),
        ("inboxes: []", f"inboxes: an empty list cannot be used; {LIST_RULE}"),
        ("inboxes: {path: /x}", f"inboxes: a group of options cannot be used; {LIST_RULE}"),
        ("inboxes: &a [*a]", "inboxes[0]: a list cannot be used; give options, one a line, indented below the -"),
        ("inboxes: [{name: a}]", "inboxes[0].path: is missing; give a path such as /srv/receipts/inbox"),
        (
            "inboxes: [{path: /x/inbox}]",
            "n8n.webhook_url: is missing, and inbox inbox has none of its own; give the Webhook node's Production URL",
        ),
        (MINIMAL + "webhook_url: http://x", 'webhook_url: is no option; did you mean "n8n.webhook_url"?'),
        (MINIMAL + "http: 8000", "http: a single text cannot be used; give options, one a line, indented below http:"),
        (
            MINIMAL + "database: {bind: x}",
            "database.bind: is no option; the options here are url",
        ),
        (MINIMAL + "http: {prot:8000}", 'http.prot: is no option; did you mean "port"?'),
        (
            MINIMAL + "http: {public_url: 'http://u:pw@h/?a=b'}",
            (
                'http.public_url: "http://********@h/?a=********" has a part after ? or #; '
                "end it before that: a path is appended to it"
            ),
        ),
        (
            MINIMAL + "callback: {secret_token: short}",
            "callback.secret_token: the value is shorter than 16 characters; take the output of: openssl rand -hex 32",
        ),
        (
            MINIMAL + "callback: {secret_token: 1e5}",
            'callback.secret_token: the value is read by YAML as a number, a date or yes/no; put it in quotes: "…"',
        ),
        (
            MINIMAL + "logging: {level: loud}",
            'logging.level: "loud" cannot be used; give one of debug, info, warning, error',
        ),
        (
            MINIMAL + "database: {url: 'postgres://u:pw@h/db'}",
            (
                'database.url: "postgres://********@h/db" is no file for the job log; '
                "use sqlite:///name.db in state_dir, or sqlite:////whole/path.db"
            ),
        ),
        (MINIMAL + "state_dir: ''", 'state_dir: "" is no path; write it whole, such as /srv/receipts/inbox'),
        (
            MINIMAL + "state_dir: /x/inbox/s",
            "state_dir: /x/inbox/s lies in /x/inbox, which is inboxes[0].path; put it elsewhere",
        ),
        (
            MINIMAL + "database: {url: 'sqlite:////x/inbox/log.db'}",
            "database.url: /x/inbox/log.db lies in /x/inbox, which is inboxes[0].path; put it elsewhere",
        ),
    ],
)
def test_a_mistake_is_told_in_words_for_an_admin(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Each common mistake has its sentence, and brings no second one along."""
    assert texts(written(tmp_path, text)) == [f"watcher.yaml: {message}"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder, or a file that is not there, is one problem and no traceback."""
    assert texts(tmp_path) == ["watcher.yaml: whole file: cannot be read: Is a directory; give a readable file"]
    gone = tmp_path / "gone.yaml"
    assert texts(gone) == ["watcher.yaml: whole file: cannot be read: No such file or directory; give a readable file"]


def test_without_a_file_the_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container needs no file; relative paths then start where the program was started."""
    monkeypatch.chdir(tmp_path)
    environ = {"RECEIPT_WATCHER_INBOXES": '[{"path": "in"}]', "N8N_WEBHOOK_URL": "http://n8n/x", **HOME}
    assert load(None, environ).inboxes[0].path == tmp_path / "in"
    assert [str(problem) for problem in problems(None)] == [f"no configuration file: inboxes: is missing; {LIST_RULE}"]


def test_environment_over_credential_over_file_over_default(tmp_path: Path) -> None:
    """The nearer to the process, the stronger; an empty variable counts as unset."""
    path = written(tmp_path, MINIMAL)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "something_else").write_text("ignored")

    def url(**environ: str) -> str | None:
        environ = {"CREDENTIALS_DIRECTORY": str(credentials), **HOME, **environ}
        return load(path, environ).n8n.webhook_url

    assert url() == "http://n8n/hook"
    (credentials / "n8n_webhook_url").write_text("http://credential/\n")
    assert url() == "http://credential/"
    assert url(N8N_WEBHOOK_URL="") == "http://credential/"
    assert url(N8N_WEBHOOK_URL="http://short/") == "http://short/"
    assert url(RECEIPT_WATCHER_N8N__WEBHOOK_URL="http://long/") == "http://long/"
    assert url(RECEIPT_WATCHER_N8N="{webhook_url: http://section/}") == "http://section/"
    both = {"RECEIPT_WATCHER_N8N": "{webhook_url: http://section/}", "N8N_WEBHOOK_URL": "http://short/"}
    assert url(**both) == "http://short/"


@pytest.mark.parametrize(
    ("name", "dotted", "text", "shown"),
    [
        ("N8N_WEBHOOK_URL", "n8n.webhook_url", "http://short/", "http://short/"),
        ("N8N_API_KEY", "n8n.api_key", "key", "********"),
        ("N8N_SIGNING_SECRET", "n8n.signing_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "********"),
        ("CALLBACK_SECRET_TOKEN", "callback.secret_token", SECRET, "********"),
        ("CALLBACK_PREVIOUS_SECRET_TOKEN", "callback.previous_secret_token", SECRET, "********"),
        ("DATABASE_URL", "database.url", "sqlite:///other.db", "sqlite:///other.db"),
    ],
)
def test_some_values_have_short_names_and_credentials(
    tmp_path: Path, name: str, dotted: str, text: str, shown: str
) -> None:
    """The values that a deployment keeps apart have short names, as variables and as systemd's credential files."""
    path = written(tmp_path, MINIMAL)
    effective = json.loads(json.dumps(redacted(load(path, {**HOME, name: text}))))
    section, option = dotted.split(".")
    assert effective[section][option] == shown
    (tmp_path / name.lower()).write_text(text + "\n")
    assert redacted(load(path, {**HOME, "CREDENTIALS_DIRECTORY": str(tmp_path)})) == effective


@pytest.mark.parametrize(
    ("environ", "messages"),
    [
        (
            {"RECEIPT_WATCHER_N8N__WORKRES": "3"},
            [
                (
                    "environment variable RECEIPT_WATCHER_N8N__WORKRES: RECEIPT_WATCHER_N8N__WORKRES: is no option; "
                    "did you mean RECEIPT_WATCHER_N8N__WORKERS?"
                )
            ],
        ),
        (
            {"RECEIPT_WATCHER_INBOXES__3__PTH": "3"},
            [
                (
                    "environment variable RECEIPT_WATCHER_INBOXES__3__PTH: RECEIPT_WATCHER_INBOXES__3__PTH: "
                    "is no option; did you mean RECEIPT_WATCHER_INBOXES__3__PATH?"
                )
            ],
        ),
        (
            {"N8N_API_KEY": "one", "RECEIPT_WATCHER_N8N__API_KEY": "two"},
            [
                (
                    "environment variable RECEIPT_WATCHER_N8N__API_KEY: n8n.api_key: N8N_API_KEY has another value; "
                    "unset one of the two"
                )
            ],
        ),
        (
            {"RECEIPT_WATCHER_HTTP__PORT": "http"},
            [
                (
                    'environment variable RECEIPT_WATCHER_HTTP__PORT: http.port: "http" cannot be used; '
                    "give a whole number from 0 to 65535"
                )
            ],
        ),
        (
            {"RECEIPT_WATCHER_INBOXES__2__PATH": "/y/in"},
            [
                (
                    "environment variable RECEIPT_WATCHER_INBOXES__2__PATH: inboxes[2].path: there is no inboxes[1]; "
                    "count from 0 without gaps"
                )
            ],
        ),
        (
            {"RECEIPT_WATCHER_INBOXES": "[{path: /y/in"},
            [
                "environment variable RECEIPT_WATCHER_INBOXES: inboxes: line 1, column 14: cannot be read as YAML; "
                + ADVICE_YAML
            ],
        ),
    ],
)
def test_a_mistake_in_the_environment_names_its_variable(
    tmp_path: Path, environ: dict[str, str], messages: list[str]
) -> None:
    """The source of a wrong value is told, and an unknown variable is a mistake, with the nearest real name."""
    assert texts(written(tmp_path, MINIMAL), environ) == messages


@pytest.mark.parametrize(
    "environ",
    [
        {
            "RECEIPT_WATCHER_SERVICE_HOST": "10.96.12.7",
            "RECEIPT_WATCHER_SERVICE_PORT": "8000",
            "RECEIPT_WATCHER_SERVICE_PORT_HTTP": "8000",
            "RECEIPT_WATCHER_PORT": "tcp://10.96.12.7:8000",
            "RECEIPT_WATCHER_PORT_8000_TCP": "tcp://10.96.12.7:8000",
            "RECEIPT_WATCHER_PORT_8000_TCP_PROTO": "tcp",
            "RECEIPT_WATCHER_PORT_8000_TCP_PORT": "8000",
            "RECEIPT_WATCHER_PORT_8000_TCP_ADDR": "10.96.12.7",
        },
        {
            "RECEIPT_WATCHER_METRICS_EU_1_SERVICE_HOST": "fd00::7",
            "RECEIPT_WATCHER_METRICS_EU_1_SERVICE_PORT": "9100",
            "RECEIPT_WATCHER_METRICS_EU_1_SERVICE_PORT_SYSLOG_TLS": "6514",
            "RECEIPT_WATCHER_METRICS_EU_1_PORT": "udp://[fd00::7]:9100",
            "RECEIPT_WATCHER_METRICS_EU_1_PORT_9100_UDP": "udp://[fd00::7]:9100",
            "RECEIPT_WATCHER_METRICS_EU_1_PORT_9100_UDP_ADDR": "fd00::7",
            "RECEIPT_WATCHER_METRICS_EU_1_PORT_9100_UDP_PROTO": "udp",
        },
        {
            "RECEIPT_WATCHER_NAME": "/n8n/receipt-watcher",
            "RECEIPT_WATCHER_PORT_8000_TCP_START": "tcp://172.17.0.5:8000",
            "RECEIPT_WATCHER_PORT_8000_TCP_PORT_END": "8004",
            "RECEIPT_WATCHER_ENV_RECEIPT_WATCHER_N8N__API_KEY": "of the other container",
        },
    ],
)
def test_variables_of_services_and_links_are_no_options(tmp_path: Path, environ: dict[str, str]) -> None:
    """What Kubernetes and Docker inject for a Service or a container of this name changes nothing."""
    path = written(tmp_path, MINIMAL)
    assert load(path, environ | HOME) == load(path, HOME)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECEIPT_WATCHER_PORT", "8000"),
        ("RECEIPT_WATCHER_PORT", "http://10.96.12.7:8000"),
        ("RECEIPT_WATCHER_PORT", "tcp://n8n:8000"),
        ("RECEIPT_WATCHER_HTTP_PORT", "8000"),
        ("RECEIPT_WATCHER_HTP__PORT", "tcp://10.96.12.7:8000"),
        ("RECEIPT_WATCHER_HTTP__HOST_PORT", "8000"),
        ("RECEIPT_WATCHER_HOST", "10.96.12.7"),
        ("RECEIPT_WATCHER_SERVICE_HOST", "receipts.office.lan"),
        ("RECEIPT_WATCHER_SERVICE_PORT", "99999"),
        ("RECEIPT_WATCHER_SERVICE", "10.96.12.7"),
        ("RECEIPT_WATCHER_PORT_8000_TCP_PROTO", "udp"),
        ("RECEIPT_WATCHER_PORT_HTTP_TCP", "tcp://10.96.12.7:8000"),
        ("RECEIPT_WATCHER_NAME", "office"),
        ("RECEIPT_WATCHER_ENV_N8N__API_KEY", "without a link's name beside it"),
    ],
)
def test_what_only_resembles_an_injected_variable_is_a_mistake(tmp_path: Path, name: str, value: str) -> None:
    """A mistyped option stays an error: name and value must both be of the injected shape."""
    problems = texts(written(tmp_path, MINIMAL), {name: value})
    assert [problem.partition(": is no option")[0] for problem in problems] == [f"environment variable {name}: {name}"]


def test_the_same_value_twice_is_no_conflict(tmp_path: Path) -> None:
    """A short and a long name may both be set, as long as they agree."""
    environ = {"N8N_API_KEY": "same", "RECEIPT_WATCHER_N8N__API_KEY": "same", **HOME}
    assert load(written(tmp_path, MINIMAL), environ).n8n.api_key is not None


def test_lists_grow_by_index(tmp_path: Path) -> None:
    """A variable may add an inbox to those of the file, or change one of them."""
    environ = {"RECEIPT_WATCHER_INBOXES__1__PATH": "/y/second", "RECEIPT_WATCHER_INBOXES__0__NAME": "first", **HOME}
    config = load(written(tmp_path, MINIMAL), environ)
    assert [inbox.name for inbox in config.inboxes] == ["first", "second"]


BLANKS = ["", " ", "\n", " \n", "\r\n", "\t\n\n"]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("name", ["n8n_api_key", "callback_secret_token", "n8n_signing_secret", "notify_urls"])
def test_an_empty_credential_file_is_a_mistake(tmp_path: Path, name: str, blank: str) -> None:
    """A credential file without a secret in it is told with its name, and never taken for one that is not there."""
    path = written(tmp_path, MINIMAL + f"callback: {{secret_token: {SECRET}}}\n")
    (tmp_path / name).write_text(blank, newline="")
    (tmp_path / "notify_heartbeat_url").write_text(NOT_SET_CREDENTIAL)  # as the unit has it today
    (told,) = texts(path, {"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME})
    assert told.startswith(f"credential {name}: ")
    assert told.endswith(f"is empty; write the secret into the file {name}, or remove the file")


@pytest.mark.parametrize("placeholder", [NOT_SET_CREDENTIAL, "\n"])
def test_what_stands_for_a_missing_credential_is_none(tmp_path: Path, placeholder: str) -> None:
    """The unit's placeholder, today's or the one of an earlier unit, leaves the value of the file in force."""
    path = written(tmp_path, MINIMAL + f"callback: {{secret_token: {SECRET}}}\n")
    for name in SHORT_NAMES:
        (tmp_path / name.lower()).write_text(placeholder)
    config = load(path, {"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME})
    assert config.callback.secret_token is not None
    assert config.callback.secret_token.get_secret_value() == SECRET
    assert config.n8n.api_key is None


@pytest.mark.parametrize("blank", ["", " ", "\n"])
@pytest.mark.parametrize("name", ["N8N_API_KEY", "RECEIPT_WATCHER_CALLBACK__SECRET_TOKEN", "NOTIFY_URLS"])
def test_an_empty_variable_of_a_secret_is_a_mistake(tmp_path: Path, name: str, blank: str) -> None:
    """A secret that a variable sets to nothing is told; for any other option an empty variable counts as unset."""
    path = written(tmp_path, MINIMAL)
    (told,) = texts(path, {name: blank, **HOME})
    assert told.startswith(f"environment variable {name}: ")
    assert told.endswith("is empty; set it, or unset the variable")
    assert load(path, {"RECEIPT_WATCHER_LOGGING__LEVEL": "", **HOME}).logging.level == "info"


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("callback: {secret_token: }", "callback.secret_token"),
        ("callback: {secret_token: null}", "callback.secret_token"),
        ("callback: {previous_secret_token: '  '}", "callback.previous_secret_token"),
        ("notify: {webhook_url: ~}", "notify.webhook_url"),
        ("notify: {urls: }", "notify.urls"),
        ("notify: {urls: ''}", "notify.urls"),
        ("notify: {urls: ['ntfys://ntfy.example.com/x', ' ']}", "notify.urls[1]"),
    ],
)
def test_an_empty_secret_in_the_file_is_a_mistake(tmp_path: Path, lines: str, key: str) -> None:
    """A secret that the file names and does not give is told with its line; a list without items is one."""
    (told,) = texts(written(tmp_path, f"{MINIMAL}{lines}\n"), HOME)
    assert f"{key}: is empty; write the secret, or remove the line" in told
    assert load(written(tmp_path, MINIMAL + "notify: {urls: []}\n"), HOME).notify.urls == ()


def test_a_credential_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    """A broken credential is one problem, and not also a missing value."""
    (tmp_path / "n8n_webhook_url").mkdir()
    path = written(tmp_path, "inboxes: [{path: /x/inbox}]")
    assert texts(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == [
        "credential n8n_webhook_url: n8n.webhook_url: cannot be read: Is a directory; mend or remove the file"
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"callback: {{secret_token: {SECRET}}}\nn8n: {{api_key: {SECRET}, workers: 0}}\nx: 1",
        f"callback: {{secret_token:{SECRET}}}",
        f"callback: {{secret_tokn: {SECRET}}}",
        f"callback: {SECRET}",
        f"callback: [{SECRET}]",
        f"n8n: {{api_key: *{SECRET}}}",
        f"n8n: {{api_key: !{SECRET}}}",
        f"n8n: {{api_key: !{SECRET}! x}}",
        f"n8n: {{api_key: @{SECRET}}}",
        f"n8n: {{api_key: '{SECRET}}}",
        f"n8n: {{api_key: '{SECRET} with spaces'}}",
        f"n8n: {{webhook_url: 'ftp://{SECRET}@h/'}}",
        f"n8n: {{webhook_url: 'http://u:{SECRET}/x@h/'}}",
        f"n8n: {{webhook_url: 'u:{SECRET}@h'}}",
        f"n8n: {{webhook_url: 'h/x?{SECRET}'}}",
        f"n8n: {{webhook_url: 'h/x?a=b&token={SECRET}'}}",
        f"database: {{url: 'postgresql://u:{SECRET}@h/db'}}",
    ],
)
def test_a_mistake_does_not_tell_the_secret(tmp_path: Path, text: str) -> None:
    """However wrong the file is, its secrets are in no message, no repr and no traceback."""
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "inboxes: [{path: /x/inbox}]\n" + text), HOME)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.problems)
    assert SECRET not in shown
    assert caught.tb.tb_next  # below this test's own frame, whose locals hold the text
    below = traceback.StackSummary.extract(traceback.walk_tb(caught.tb.tb_next), capture_locals=True)
    assert SECRET not in "".join(below.format())


@pytest.mark.parametrize(
    ("inboxes", "wrong"),
    [
        ("{path: /a/in}, {path: /b/box}", []),
        ("{path: /a/in, done_dir: /d, failed_dir: /f}, {path: /b/box, done_dir: /d, failed_dir: /f}", []),
        ("{path: /a/in}, {path: /a/innermost, processing_dir: /b/p}", []),
        ("{path: /a/in}, {path: /b/in}", ['inboxes[1].name: "in" is also the name of inboxes[0]']),
        (
            "{path: /a/in}, {path: /a/box}",
            ["inboxes[1].processing_dir: /a/processing is also inboxes[0].processing_dir"],
        ),
        ("{path: /a/in}, {path: /a/in, name: b}", ["inboxes[1].path: /a/in is also inboxes[0].path"]),
        ("{path: /a/in}, {path: /a/in/b}", ["inboxes[1].path: /a/in/b lies in /a/in, which is inboxes[0].path"]),
        ("{path: /a/in/b}, {path: /a/in}", ["inboxes[0].path: /a/in/b lies in /a/in, which is inboxes[1].path"]),
        ("{path: /a/in, done_dir: /a/in/d}", ["inboxes[0].done_dir: /a/in/d lies in /a/in, which is inboxes[0].path"]),
        ("{path: /a/in, done_dir: /a/failed}", ["inboxes[0].failed_dir: /a/failed is also inboxes[0].done_dir"]),
        ("{path: /a/done}", ["inboxes[0].done_dir: /a/done is also inboxes[0].path"]),
        (
            "{path: /a/in}, {path: /b/box, failed_dir: /a/in/f}",
            ["inboxes[1].failed_dir: /a/in/f lies in /a/in, which is inboxes[0].path"],
        ),
        (
            "{path: /a/in}, {path: /a/done/box}",
            ["inboxes[1].path: /a/done/box lies in /a/done, which is inboxes[0].done_dir"],
        ),
        (
            "{path: /a/in}, {path: /b/box, done_dir: /a/processing/x}",
            ["inboxes[1].done_dir: /a/processing/x lies in /a/processing, which is inboxes[0].processing_dir"],
        ),
        (
            "{path: /a/in}, {path: /b/box, processing_dir: /a/done}",
            ["inboxes[1].processing_dir: /a/done is also inboxes[0].done_dir"],
        ),
        (
            "{path: /a/in}, {path: /b/box, done_dir: /a/failed}",
            ["inboxes[1].done_dir: /a/failed is also inboxes[0].failed_dir"],
        ),
        ("{path: /a/x/../in, done_dir: /a/in}", ["inboxes[0].done_dir: /a/in is also inboxes[0].path"]),
    ],
)
def test_spools_do_not_get_into_each_others_way(tmp_path: Path, inboxes: str, wrong: list[str]) -> None:
    """No folder of a spool is shared or nested, but done with done and failed with failed of another inbox."""
    path = written(tmp_path, f"inboxes: [{inboxes}]\nn8n: {{webhook_url: http://n8n/x}}\n")
    if wrong:
        assert [f"{problem.key}: {problem.wrong}" for problem in problems(path)] == wrong
    else:
        load(path, HOME)


def test_links_do_not_hide_a_shared_folder(tmp_path: Path) -> None:
    """Folders are compared by where they really are."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    inboxes = "{path: real/in}, {path: link/in, name: b}"
    (problem,) = problems(written(tmp_path, f"inboxes: [{inboxes}]\nn8n: {{webhook_url: http://n8n/x}}\n"))
    assert problem.key == "inboxes[1].path"
    assert problem.right == "set inboxes[1].path to a folder of its own"


def test_inboxes_can_share_their_options_by_yaml_merge(tmp_path: Path) -> None:
    """YAML's own way to say things once works, and is not taken for a repeated key."""
    text = "inboxes: [&a {path: /a/in, settle_seconds: 9}, {<<: *a, path: /b/box}]\nn8n: {webhook_url: http://n8n/x}"
    assert [inbox.settle_seconds for inbox in load(written(tmp_path, text), HOME).inboxes] == [9, 9]


def test_the_file_is_searched_in_four_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, then the variable, then ./watcher.yaml, then /etc; what was asked for must be there."""
    system = tmp_path / "etc.yaml"
    monkeypatch.setattr("receipt_watcher.config.sources.load.SYSTEM_CONFIG_FILE", system)
    other, third = tmp_path / "other.yaml", tmp_path / "third.yaml"
    environ = {"RECEIPT_WATCHER_CONFIG": "other.yaml"}
    assert find_config_file(None, {"RECEIPT_WATCHER_CONFIG": ""}, tmp_path) is None
    system.touch()
    assert find_config_file(None, {}, tmp_path) == system
    local = written(tmp_path, MINIMAL)
    assert find_config_file(None, {}, tmp_path) == local
    with pytest.raises(ConfigError, match=r"environment variable RECEIPT_WATCHER_CONFIG: .*: there is no such file"):
        find_config_file(None, environ, tmp_path)
    other.touch()
    assert find_config_file(None, environ, tmp_path) == other
    with pytest.raises(ConfigError, match=r"option --config: .*third.yaml: there is no such file"):
        find_config_file(third, environ, tmp_path)
    third.touch()
    assert find_config_file(third, environ, tmp_path) == third
    load(local, {**HOME, **environ})


NAMES = sorted({*re.findall("[a-z0-9_]+(?=:)", example_yaml()), "0", "<<", "x"})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["~", "/x", "http://["])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | SCALARS, inner, max_size=5),
    max_leaves=12,
)
YAML_PARTS = [
    *"[]{}:,-&*!%@#|>?'\"\n\t\\=~ 01a",
    "<<: ",
    "&a ",
    "*a",
    "!!binary ",
    "!!set ",
    "!!omap ",
    "\\U",
    "inboxes: ",
]


@settings(max_examples=300)
@given(
    text=st.text()
    | st.lists(st.sampled_from(YAML_PARTS), max_size=25).map("".join)
    | TREES.map(lambda tree: yaml.dump(tree, allow_unicode=True))
    | st.fixed_dictionaries({"inboxes": TREES, "n8n": TREES}).map(yaml.dump)
)
def test_whatever_the_file_holds_only_config_error_is_raised(text: str) -> None:
    """No text makes the program fall over: it is a configuration or a list of mistakes that can be printed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "watcher.yaml")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            json.dumps(redacted(load(path, HOME)))
        except ConfigError as error:
            str(error).encode()
