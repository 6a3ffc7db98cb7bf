"""The gateway over HTTP: where it is, who asks, and what its answers mean."""

import ipaddress
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from cli.documents import Document
from cli.exits import Exit, Trouble, exit_of_status
from cli.terminal import complain

if TYPE_CHECKING:
    import httpx

_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_SECONDS: Final = 70.0
_CONNECT_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 50.0  # three keep-alive comments
# Before the first byte of an export the gateway seals what is left of the audit log.
_PREPARING_SECONDS: Final = 600.0
_PREFIX: Final = 8
_NO_CONTENT: Final = 204
_WHOLE: Final = 36
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_ID: Final = re.compile(r"[0-9a-f-]{8,36}")
_HINTS: Final = {
    401: "Give a token by --token or TASKFORCE_TOKEN; in development `taskforce token` makes one.",
    403: "Ask somebody whose role allows it; `taskforce token --role ...` makes another token in development.",
    404: "`taskforce runs` and `taskforce approvals` list what there is.",
    429: "Wait a little and try again.",
    502: "`taskforce doctor` says what is missing here.",
    503: "`taskforce doctor` says what is missing here.",
    504: "Try again; `taskforce doctor` says what is missing here.",
}


def item_path(folder: str, name: str) -> str:
    """Returns the path of one item of a list; a slash in its name is quoted too, for the name is one segment.

    Args:
        folder: The path of the list.
        name: The item's id or name.
    """
    return f"{folder}/{quote(name, safe='')}"


class Gateway:
    """A client of one gateway, with one caller's credential.

    Args:
        url: Base URL, without `/api/v1`.
        token: Bearer token; None to try without.

    Raises:
        Trouble: The URL cannot be used.
    """

    def __init__(self, url: str, token: str | None) -> None:
        # Imported here, so that commands that ask no gateway, and `--help`, need not wait for it.
        import httpx

        self.url = checked_url(url)
        token = checked_token(token)
        headers = {"User-Agent": "taskforce-cli", **({"Authorization": f"Bearer {token}"} if token else {})}
        timeout = httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS)
        try:
            self._client = httpx.Client(
                # A proxy that the person has set is not asked for their own machine.
                base_url=f"{self.url}/api/v1",
                headers=headers,
                timeout=timeout,
                trust_env=not is_local(self.url),
            )
        except (UnicodeEncodeError, httpx.InvalidURL):
            raise Trouble(Exit.USAGE, "url_invalid", "The gateway's URL has impossible characters.") from None

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def get(self, path: str, **query: str | int | None) -> Document:
        """Reads one document.

        Args:
            path: Below `/api/v1`, starting with a slash.
            **query: Parameters; None leaves one out.

        Raises:
            Trouble: Any answer but a success, or none.
        """
        return self._ask("GET", path, query={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Document:
        """Asks for a change.

        Args:
            path: Below `/api/v1`.
            body: A JSON object.

        Raises:
            Trouble: Any answer but a success, or none.
        """
        return self._ask("POST", path, body=body)

    def put(self, path: str, body: Mapping[str, object]) -> Document:
        """Asks for something to be as given.

        Args:
            path: Below `/api/v1`.
            body: A JSON object.

        Raises:
            Trouble: Any answer but a success, or none.
        """
        return self._ask("PUT", path, body=body)

    def delete(self, path: str, **query: str | int | None) -> Document:
        """Asks for something to be deleted.

        Args:
            path: Below `/api/v1`.
            **query: Parameters; None leaves one out.

        Raises:
            Trouble: Any answer but a success, or none.
        """
        return self._ask("DELETE", path, query={name: value for name, value in query.items() if value is not None})

    def start(self, order: Mapping[str, object]) -> Document:
        """Starts a run; asks a second time, under the same key, when the answer to the first was lost.

        Args:
            order: Body of `POST /agents/execute`.

        Raises:
            Trouble: It was refused, or the gateway does not answer.
        """
        # The second try, after an answer that was lost, must not start a second run.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        try:
            return self._ask("POST", "/agents/execute", body=order, headers=headers)
        except Trouble as trouble:
            if trouble.code != "answer_lost":
                raise
        return self._ask("POST", "/agents/execute", body=order, headers=headers)

    def resolve(self, text: str, path: str, key: str) -> str:
        """Turns an id, or the unique beginning of one that is listed, into a whole id.

        Args:
            text: 8 to 36 characters; `<tenant>:run:<id>` as Temporal shows it is understood too.
            path: The list that is searched for a beginning.
            key: The id's name in the list's items.

        Raises:
            Trouble: It is no id, nothing begins so, or several do.
        """
        wanted = text.rpartition(":")[2].lower()
        if not _ID.fullmatch(wanted):
            message = f"An id, or its first {_PREFIX} characters or more, is needed."
            raise Trouble(Exit.USAGE, "id_invalid", message, hint=_HINTS[404])
        # A whole id also names what is not among the latest.
        if len(wanted) == _WHOLE:
            return wanted
        listed = (item.text(key) for item in self.get(path, limit=100).items("items"))
        found = sorted({name for name in listed if name.startswith(wanted)})
        if len(found) > 1:
            raise Trouble(Exit.USAGE, "id_ambiguous", f"{len(found)} ids begin with {wanted}.", hint="Give more of it.")
        if not found:
            message = f"None of the latest begins with {wanted}."
            raise Trouble(Exit.NOT_FOUND, "id_not_found", message, hint=_HINTS[404])
        return found[0]

    def run_id(self, text: str) -> str:
        """Resolves the beginning of a run's id to the whole id; see `resolve`."""
        return self.resolve(text, "/runs", "run_id")

    def request_id(self, text: str) -> str:
        """Resolves the beginning of an approval request's id to the whole id; see `resolve`."""
        return self.resolve(text, "/admin/requests/pending", "request_id")

    @contextmanager
    def events(self, run_id: str, last_event_id: str | None) -> Iterator[Iterator[bytes]]:
        """Opens a run's event stream.

        Args:
            run_id: A whole id.
            last_event_id: Where to go on; None for the beginning.

        Raises:
            Trouble: It was refused, broke, or was silent for longer than its keep-alive allows.
        """
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        # Keep-alive comments come more often than this, so that silence means a dead connection.
        with self._stream(f"/runs/{run_id}/events", {}, headers, _SILENCE_SECONDS) as response:
            yield response.iter_bytes()

    @contextmanager
    def download(
        self, path: str, accept: str | None = None, **query: str | None
    ) -> "Iterator[tuple[Mapping[str, str], Iterator[bytes]]]":
        """Opens what is too large to be held as a whole.

        Args:
            path: Below `/api/v1`.
            accept: The media type that is asked for; None for the only one.
            **query: Parameters; None leaves one out.

        Returns:
            The answer's headers, whose names are read in any case, and its body piece by piece.

        Raises:
            Trouble: It was refused, or broke before its end.
        """
        given = {name: value for name, value in query.items() if value is not None}
        headers = {} if accept is None else {"Accept": accept}
        with self._stream(path, given, headers, _PREPARING_SECONDS) as response:
            yield response.headers, response.iter_bytes()

    @contextmanager
    def _stream(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], silence: float
    ) -> "Iterator[httpx.Response]":
        import httpx

        timeout = httpx.Timeout(silence, connect=_CONNECT_SECONDS)
        with (
            self._reaching(),
            self._client.stream("GET", path, params=query, headers=headers, timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
                raise _problem(response)
            yield response

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        with self._reaching():
            response = self._client.request(method, path, params=query, json=body, headers=headers)
        if not response.is_success:
            raise _problem(response)
        if response.status_code == _NO_CONTENT:
            return Document()
        document = Document.parse(response.content)
        if document is None:
            message = f"{self.url} answered with something that is not the gateway's."
            raise Trouble(Exit.ERROR, "answer_not_understood", message, hint="Is the URL the gateway's?")
        return document

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            hint = "Is it running? `taskforce up` starts one here; --url or TASKFORCE_URL names another."
            message = f"The gateway at {self.url} is not reachable."
            raise Trouble(Exit.UNAVAILABLE, "gateway_unreachable", message, hint=hint) from None
        except httpx.HTTPError as error:
            message = f"The connection to {self.url} broke before the answer came ({type(error).__name__})."
            raise Trouble(Exit.UNAVAILABLE, "answer_lost", message, hint="Try again.") from None


def open_gateway(url: str | None, token: str | None) -> Gateway:
    """Finds the gateway and a token for it, as `taskforce --help` describes.

    Args:
        url: What `--url` or TASKFORCE_URL says.
        token: What `--token` or TASKFORCE_TOKEN says; without one, a local gateway gets a development token.

    Raises:
        Trouble: The URL cannot be used.
    """
    state = local_state()
    found = url or state.text("url") or _DEFAULT_URL
    if not token and is_local(checked_url(found)) and state.text("profile") in {"", "dev", "development", "test"}:
        from cli.token import SAMPLE_TENANT, SAMPLE_USER, development_token

        token = development_token(SAMPLE_TENANT, SAMPLE_USER, ("operator", "admin"))
        if token:
            complain(f"No token given: as {SAMPLE_USER} of {SAMPLE_TENANT} (development).", "dim")
    return Gateway(found, token)


def local_state() -> Document:
    """Reads what a local `taskforce up` says of itself, or None. Plain JSON: it is on every command's way."""
    try:
        found = Document.parse((Path(os.environ.get("TASKFORCE_HOME") or ".taskforce") / "state.json").read_bytes())
    except OSError:
        return Document()
    return found or Document()


def checked_url(url: str) -> str:
    """Validates a base URL; returns it without a slash at its end.

    Raises:
        Trouble: It is not an http or https URL.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or any(character.isspace() for character in url):
        raise Trouble(Exit.USAGE, "url_invalid", "The gateway's URL must look like http://127.0.0.1:8000.")
    return url.rstrip("/")


def checked_token(token: str | None) -> str | None:
    """Validates a token for a header; removes the newline that files and shells leave at its end.

    Raises:
        Trouble: It holds something that no token has.
    """
    stripped = token.strip() if token else ""
    if stripped and not _TOKEN.fullmatch(stripped):
        message = "The token holds blanks, control characters or letters that no token has."
        raise Trouble(Exit.USAGE, "token_invalid", message, hint="Was it copied whole, and alone?")
    return stripped or None


def is_local(url: str) -> bool:
    """Returns whether the URL's host is this machine's loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(response: "httpx.Response") -> Trouble:
    document = Document.parse(response.content) or Document()
    status = response.status_code
    fallback = f"The gateway answered {status} {response.reason_phrase}".strip() + "."
    message = document.text("detail") or document.text("title") or fallback
    fields = [f"{item.text('field')}: {item.text('message')}" for item in document.items("errors")]
    hint = _HINTS.get(status, "")
    wait = response.headers.get("Retry-After", "")
    # The header may also be a date, which says less to a person than the status's own hint.
    if wait.isdigit():
        hint = f"Try again in {wait} s."
    return Trouble(
        exit_of_status(status),
        document.text("code") or f"http_{status}",
        " ".join([message, *(f"[{field}]" for field in fields)]),
        hint=hint,
        status=status,
        request_id=document.text("request_id") or response.headers.get("X-Request-ID"),
    )
