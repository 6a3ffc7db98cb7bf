"""Check of webhook URLs; the guarded client checks again, with every resolved address, when it sends."""

from taskforce.core.domain.errors import Invalid
from taskforce.core.interfaces.tools import ToolFailure
from taskforce.infrastructure.net.url_target import check_place, place, read_target

MAX_URL = 2_000


class DeploymentUrls:
    """Implements `WebhookUrls`.

    Args:
        allowed_hosts: Places that are exempt from the checks of address and port, written `host:port`.
        development: Whether deliveries may use http.
    """

    def __init__(self, allowed_hosts: frozenset[str] = frozenset(), *, development: bool = False) -> None:
        self._allowed = frozenset(place(host) for host in allowed_hosts)
        self._development = development

    def check(self, url: str) -> None:
        """Requires a URL that deliveries can be sent to.

        Raises:
            Invalid: `webhook_url_invalid`.
        """
        try:
            target = read_target(url)
            check_place(target, self._allowed)
        except ToolFailure as failure:
            raise Invalid("webhook_url_invalid", str(failure)) from None
        if target.url.scheme != "https" and not self._development:
            raise Invalid("webhook_url_invalid", "A webhook's URL must begin with https://.")
        if len(url) > MAX_URL:
            raise Invalid("webhook_url_invalid", f"A webhook's URL has at most {MAX_URL} characters.")
