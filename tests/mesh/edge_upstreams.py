"""What stands behind the edge besides plain upstreams: a collector for spans, and an echo of WebSockets."""

import base64
import hashlib
import http.server
import re
import socket
import threading


class Collector(http.server.ThreadingHTTPServer):
    """Keeps what an OpenTelemetry collector would get."""

    def __init__(self, port):
        self.spans = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                collector.spans.append((self.path, self.body()))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def body(self):
                if "content-length" in self.headers:
                    return self.rfile.read(int(self.headers["content-length"]))
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            def log_message(self, *_):
                pass
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class WebSockets:
    """Answers WebSocket handshakes and echoes frames."""

    def __init__(self, port):
        self.heads = []
        self.socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        head = read_head(connection)
        self.heads.append(head)
        key = re.search(r"sec-websocket-key: (\S+)", head, re.IGNORECASE)[1]
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)


def read_head(connection):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            break
        data += piece
    return data.decode()
