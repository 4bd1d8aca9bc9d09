"""What is redacted and what is not, rule by rule."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from manager.redaction import BY_RULES_ALONE, MARK, Redactor
from manager.redaction_rules import RULES, Rule, is_secret_name
from manager.spec import AgentSpec

DOCUMENT = Path(__file__).parents[2] / "docs" / "redaction.md"

SECRET_NAMES = (
    *("PASSWORD", "DB_PASSWORD", "PGPASSWORD", "db-pass", "MYSQL_PWD", "apiKey", "API_KEY", "OPENAI_KEY"),
    "signing-key",
    *("client_secret", "SECRET_ID", "GITHUB_TOKEN", "accessToken", "AUTH", "Authorization", "session-cookie"),
    "API_KEY2",
    *("AWS_SECRET_ACCESS_KEY", "credentials", "JWT", "X-Amz-Signature", "SSH_KEY", "passphrase"),
)  # fmt: skip
OTHER_NAMES = (
    *("PWD", "OLDPWD", "PATH", "TOKEN_FILE", "auth-type", "SSH_AUTH_SOCK", "public-key", "sort-key", "max-tokens"),
    "KEY",
    *("tokenizer", "author", "COMPASS", "bypass", "secretary", "PASSWORD_LENGTH", "", "1", "--", "monkey", "keyboard"),
)  # fmt: skip

ARGUMENTS = [
    (["psql", "--password", "hunter22"], ["psql", "--password", MARK]),
    (["x", "-token", "-hunter22"], ["x", "-token", MARK]),
    (["x", "--token", "--verbose"], ["x", "--token", "--verbose"]),
    (["x", "--api-key=hunter22", "run"], ["x", f"--api-key={MARK}", "run"]),
    (["x", "PASSWORD=hunter22"], ["x", f"PASSWORD={MARK}"]),
    (["docker", "run", "--env=TOKEN=hunter22"], ["docker", "run", f"--env=TOKEN={MARK}"]),
    (["docker", "-u", "1000:1000"], ["docker", "-u", "1000:1000"]),
    (["curl", "-u", "me:hunter22"], ["curl", "-u", f"me:{MARK}"]),
    (["curl", "-su", "me:hunter22"], ["curl", "-su", f"me:{MARK}"]),
    (["curl", "-ume:hunter22", "x"], ["curl", f"-ume:{MARK}", "x"]),
    (["sh", "-c", "curl -sSu 'me:hunter22' x"], ["sh", "-c", f"curl -sSu 'me:{MARK}' x"]),
    (["x", "-u", "https://host/x", "-uhttp://host"], ["x", "-u", "https://host/x", "-uhttp://host"]),
    (["x", "-p", "8080"], ["x", "-p", "8080"]),
    (["x", "--max-tokens", "4096"], ["x", "--max-tokens", "4096"]),
    (["x", "--password", "hunter22", "as hunter22!"], ["x", "--password", MARK, f"as {MARK}!"]),
    (["curl", "-H", "Authorization: Bearer ab12"], ["curl", "-H", f"Authorization: {MARK}"]),
    (["curl", "-H", "Authorization:", "Bearer", "ab12"], ["curl", "-H", "Authorization:", MARK, MARK]),
    (["curl", "-H", "X-Api-Key:", "ab12"], ["curl", "-H", "X-Api-Key:", MARK]),
    (["x", "Bearer", "ab12"], ["x", "Bearer", MARK]),
    (["x", "bearer", "-ab12"], ["x", "bearer", MARK]),
    (["x", "bearer", "--to", "me"], ["x", "bearer", "--to", "me"]),
    (["x", "Basic", "dXNlcjpwYXNz", "1"], ["x", "Basic", MARK, "1"]),
    (["x", "basic", "JavaScript", "training"], ["x", "basic", "JavaScript", "training"]),
    (["x", "Token", "9944b09199c62bcf9418ad846dd0e4bb"], ["x", "Token", MARK]),
    (
        ["x", "token", "list", "token", "/srv/2026/11/27/x.json"],
        ["x", "token", "list", "token", "/srv/2026/11/27/x.json"],
    ),
    (["sh", "-c", "Password:", "read"], ["sh", "-c", "Password:", "read"]),
    (
        ["x", "--url=http://[::1]:80/a@b", "http://h:80/a b@c"],
        ["x", "--url=http://[::1]:80/a@b", "http://h:80/a b@c"],
    ),
    (["x", "mysql://root:pa/ss@h/db"], ["x", f"mysql://root:{MARK}@h/db"]),
    (["x", "https://ab12:x-oauth-basic@github.com"], ["x", f"https://{MARK}:x-oauth-basic@github.com"]),
    (["x", "--password", "ab", "cab", "ab"], ["x", "--password", MARK, "cab", MARK]),
]
TEXTS = [
    ("git clone https://me:hunter22@host/x", f"git clone https://me:{MARK}@host/x"),
    ("redis://:hunter22@host", f"redis://:{MARK}@host"),
    ("http://host:80/a@b", "http://host:80/a@b"),
    ("rsync me:hunter22@host:/srv", f"rsync me:{MARK}@host:/srv"),
    ("dsn=me:hunt@22@tcp(db:3306)/x", f"dsn=me:{MARK}@tcp(db:3306)/x"),
    ("//me:hunter22@host/x, me:hunter22@10.0.0.1", f"//me:{MARK}@host/x, me:{MARK}@10.0.0.1"),
    ("lib/image:tag@sha256:01ba4719c80b6fe9", "lib/image:tag@sha256:01ba4719c80b6fe9"),
    ("image:tag@sha256:01ba4719c80b6fe9", "image:tag@sha256:01ba4719c80b6fe9"),
    ("git@host:path/x host:8080 at 10:30@noon", "git@host:path/x host:8080 at 10:30@noon"),
    ("-L 8080:localhost:80@x npm:left-pad@1.3.0", "-L 8080:localhost:80@x npm:left-pad@1.3.0"),
    ("mailto:me@example.org, From:me@example.org", "mailto:me@example.org, From:me@example.org"),
    ("HEAD:x@{1} a::b@c", "HEAD:x@{1} a::b@c"),
    ('curl -H "Authorization: Bearer abc" https://x', f'curl -H "Authorization: {MARK}" https://x'),
    ("?api_key=abc&page=2", f"?api_key={MARK}&page=2"),
    ('{"password": "a b c", "user": "me"}', f'{{"password": {MARK}, "user": "me"}}'),
    ("token = 'x y'", f"token = {MARK}"),
    ('"password" => "a b", x', f'"password" => {MARK}, x'),
    (r"{\"password\": \"a b\", \"x\": 1}", rf"{{\"password\": {MARK}, \"x\": 1}}"),
    (r'{"password": "a\"b c", "x": 1}', f'{{"password": {MARK}, "x": 1}}'),
    ('password="cut off', f"password={MARK}"),
    (
        "<db:password a='b'>x y</db:password><user>me</user>",
        f"<db:password a='b'>{MARK}</db:password><user>me</user>",
    ),
    ("?session_id=ab&JSESSIONID=cd", f"?session_id={MARK}&JSESSIONID={MARK}"),
    ("https://0123456789abcdef0123@sentry/1", f"https://{MARK}@sentry/1"),
    ("mysql://root:pa/ss@h/db", f"mysql://root:{MARK}@h/db"),
    ("author: me", "author: me"),
    ("sh: 1: nothing: not found", "sh: 1: nothing: not found"),
    ("sk-learn-pipeline-of-many-words", "sk-learn-pipeline-of-many-words"),
    ("sk-proj-" + "a1" * 20, MARK),
    ("AKIA" + "A" * 16, MARK),
    ("basic authentication: Basic dXNlcjpwYXNz", f"basic authentication: Basic {MARK}"),
    ("Basic Training, basic JavaScript, Basic abcd", "Basic Training, basic JavaScript, Basic abcd"),
    (
        "unexpected token 12345; token of a very-long-name-of-words",
        "unexpected token 12345; token of a very-long-name-of-words",
    ),
    ("wrong: Token 9944b09199c62bcf9418ad846dd0e4bb.", f"wrong: Token {MARK}."),
    ("no bearer of news", "no bearer of news"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.abc-_", MARK),
    ("MIIEvQIBADAN\nBgkqhkiG9w0B\n-----END RSA PRIVATE KEY-----\nnext", f"{MARK}\nnext"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.what)
def test_every_rule_does_what_its_document_says(rule: Rule) -> None:
    """`docs/redaction.md` has each rule with an example, and that is what becomes of it."""
    shown = BY_RULES_ALONE.text(rule.example)
    row = f"| {rule.what} | `{rule.example.replace(chr(10), '⏎')}` | `{shown}` |"
    assert row in DOCUMENT.read_text(encoding="utf-8")
    assert MARK in shown
    assert BY_RULES_ALONE.text(shown) == shown


def test_names_say_what_is_secret() -> None:
    """Names of secrets in any of the usual spellings, and not the names of what is beside them."""
    assert [name for name in SECRET_NAMES if not is_secret_name(name)] == []
    assert [name for name in OTHER_NAMES if is_secret_name(name)] == []


@pytest.mark.parametrize(("given", "shown"), ARGUMENTS)
def test_arguments(given: list[str], shown: list[str]) -> None:
    """Options, pairs and what repeats them; twice gives the same."""
    redactor = Redactor.of({}, given)
    assert redactor.command == tuple(shown)
    assert redactor.arguments(redactor.command) == tuple(shown)


@pytest.mark.parametrize(("given", "shown"), TEXTS)
def test_texts(given: str, shown: str) -> None:
    """What the rules know in any text, and what they leave alone."""
    assert BY_RULES_ALONE.text(given) == shown


def test_an_agents_own_secrets_are_found_anywhere() -> None:
    """Values of its secret variables, passwords of its URLs, lines of its keys; not the values of other variables."""
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END KEY-----"
    env = {"API_TOKEN": "correct horse", "DATABASE_URL": "pg://u:battery@h/d"}
    env |= {"MODE": "staple", "TLS_KEY": key, "A_PASS": "x"}
    redactor = Redactor.of(env, ["run", "x", "max", "staple", "-correct horse-"])
    assert redactor.command == ("run", MARK, "max", "staple", f"-{MARK}-")
    shown = redactor.text("correct horse, battery, staple, MIIEvQIBADANBgkqhkiG9w0B, x")
    assert shown == f"{MARK}, {MARK}, staple, {MARK}, x"


def test_the_name_of_a_scheme_is_no_secret() -> None:
    """Although it is what follows `Authorization:` where a shell has split a header."""
    redactor = Redactor.of({}, ["curl", "-H", "Authorization:", "Bearer", "ab12cd34"])
    assert redactor.text("Bearer, got ab12cd34") == f"Bearer, got {MARK}"


def test_a_label_whose_name_is_a_secrets_shows_no_value() -> None:
    """Only its value was looked at, and `--label password=…` was in the log for good."""
    spec = AgentSpec(command=("true",), labels={"api_key": "zq9", "team": "a", "url": "http://u:zq9@h"})
    assert spec.recorded().labels == {"api_key": MARK, "team": "a", "url": f"http://u:{MARK}@h"}


WHOLE = (
    *(
        "DB_PASSWORD=correct horse battery",
        "--password=correct horse battery",
        "X-Api-Key: correct horse battery",
    ),
    *("PASSWORD=aaaa\nbbbb", "--env=TOKEN=correct horse", "https://me:correct horse@host"),
)


@pytest.mark.parametrize("argument", WHOLE)
def test_no_more_than_the_first_word_of_a_secret_was_redacted(argument: str) -> None:
    """In an argument, a label or a variable that is a name and a value, the value reaches to the end."""
    redactor = Redactor.of({}, ["run", argument])
    assert redactor.command[1] == redactor.value("note", argument)
    assert not {"correct", "horse", "battery", "aaaa", "bbbb"} & set(re.findall(r"\w+", redactor.command[1]))
    own = Redactor.of({"NOTE": argument}).own
    assert {"correct horse battery", "aaaa\nbbbb", "correct horse"} & set(own)


@pytest.mark.parametrize("value", ['"a b \\" c"', "'a b c'", "$'a b c'", "abc"])
def test_a_script_was_taken_for_the_value_of_its_first_variable(value: str) -> None:
    """Behind `sh -c` a value ends where the shell says, and the rest of the script is shown."""
    redactor = Redactor.of({}, ["sh", "-c", f"PASSWORD={value} run it"])
    assert redactor.command[2] == f"PASSWORD={MARK} run it"


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[36mpassword\x1b[0m=\x1b[35mhunter2hunter\x1b[0m\n",
        "\x1b[1mAuthorization:\x1b[0m \x1b[33mBearer hunter2hunter",
        "pass\0word=hunter2\u200bhunter",
        "\x1b[31mhunter\x1b(B\x1b[m2hunter",
    ],
)
def test_colours_hid_a_secret(text: str) -> None:
    """What a terminal does not show stood between a name and its value, and within the value."""
    shown = Redactor.of({"TOKEN": "hunter2hunter"}).text(text)
    assert MARK in shown
    assert "hunter" not in shown
    assert Redactor.of({"TOKEN": "x" * 20}).text("\x1b[31mred\x1b[0m") == "\x1b[31mred\x1b[0m"


def test_a_hidden_text_was_a_place_for_secrets() -> None:
    """A sequence that has no end takes in what follows it, which is looked at nevertheless."""
    assert "hunter2" not in BY_RULES_ALONE.text("\x1b]password=hunter2")


@pytest.mark.parametrize(
    "secret", ["a/b+c?d&e=f", 'say "no" \\ ever', "grün ist die Farbe", "0123456789abcdef"]
)
def test_an_own_secret_was_shown_in_another_notation(secret: str) -> None:
    """In URLs, in JSON, and wherever it stands within a text in base64."""
    shown = Redactor.of({"API_TOKEN": secret}).text
    for text in (quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]):
        assert shown(f"x{text}y") == f"x{MARK}y"
    for before in range(4):
        octets = b"u" * before + secret.encode() + b":"
        for encoded in (base64.b64encode(octets).decode(), base64.urlsafe_b64encode(octets).decode()):
            assert MARK in shown(encoded)
            assert len(shown(encoded)) <= len(MARK) + 12  # of the octets around it


def test_a_secret_that_was_being_written_was_shown() -> None:
    """An output that ends within an own secret."""
    redactor = Redactor.of({"API_TOKEN": "0123456789abcdef"})
    assert redactor.output("it is 0123456789abc") == f"it is {MARK}"
    assert redactor.output("it is 01234") == "it is 01234"


def test_an_owners_rules_are_applied() -> None:
    """All that a pattern matches is redacted, in arguments and, since it was one, anywhere."""
    redactor = Redactor.of({}, ["deploy", "customer-4711"], [r"customer-\d+"])
    assert redactor.command == ("deploy", MARK)
    assert redactor.text("for customer-4711 and customer-12") == f"for {MARK} and {MARK}"


PIECES = (
    "a",
    "-",
    "a-",
    "=",
    "a=",
    "a:",
    "sk-a",
    "://",
    "://a:",
    "eyJaaaaaaaa.",
    "a\n",
    "--a ",
    '"',
    "-u a",
    "bearer ",
    "basic ",
    "basic aaaa",
    "token a",
    "token aaaaaaaaaaaaaaaaaaaaaaaaa-",
    "a:b@",
    " a:b@-",
    "-ua:",
    'password="',
    'password="\\',
    'password=\\"',
    "password=\\",
    "<token>",
    "<a ",
    "https://a",
    "://a:1/",
    "\x1b[",
    "\x1b]",
    "\x1b[1",
)


@pytest.mark.parametrize("piece", PIECES)
def test_no_text_takes_long(piece: str) -> None:
    """A hundred times as much takes some hundred times as long, not ten thousand times, whatever the text."""
    seconds = [_seconds(piece, size) for size in (500, 50_000)]
    assert seconds[1] < 2_000 * max(seconds[0], 50e-6)


def _seconds(piece: str, size: int) -> float:
    text = piece * (size // len(piece))
    begun = time.thread_time()
    BY_RULES_ALONE.text(text)
    return time.thread_time() - begun
