"""TLS, HTTP versions, certificates."""

import socket
import ssl

from checks import equal, eventually
from proxy import request


def redirects(edge):
    answer = request(edge.http, path="/a/b?c=d", headers={"host": "api.example.com"})
    equal((answer.status, answer.headers.get("location")), (301, f"https://api.example.com:{edge.https}/a/b?c=d"))


def tls_versions(edge):
    def speaks(version):
        context = ssl.create_default_context(cafile=str(edge.authority))
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        try:
            with socket.create_connection(("127.0.0.1", edge.https), 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
                return tls.version()
        except (ssl.SSLError, ConnectionResetError):
            return None
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        equal(speaks(ssl.TLSVersion.TLSv1_1), None)
    equal((speaks(ssl.TLSVersion.TLSv1_2), speaks(ssl.TLSVersion.TLSv1_3)), ("TLSv1.2", "TLSv1.3"))


def http2(edge):
    context = ssl.create_default_context(cafile=str(edge.authority))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", edge.https), 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        equal(tls.selected_alpn_protocol(), "h2")


def new_certificate(edge):
    """A new certificate is taken without a restart."""
    new = edge.write_sds("second")

    def taken():
        try:
            context = ssl.create_default_context(cafile=str(new))
            return request(edge.https, path="/live", tls=context).status == 200
        except ssl.SSLError:
            return False
    eventually(taken, 10, "the new certificate is served")
    edge.authority, edge.tls = new, ssl.create_default_context(cafile=str(new))
