"""Servers that say they are too old, as far as psycopg2 and redis-py ask them at the beginning."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import unittest


class OldPostgres(socketserver.BaseRequestHandler):
    """PostgreSQL 9.6: lets everybody in, and says its version. Source: its manual, "Frontend/Backend Protocol"."""

    def handle(self) -> None:
        connection: socket.socket = self.request
        # Requests for encryption (SSLRequest, GSSENCRequest) come first and are refused.
        while struct.unpack("!I", self._message(connection)[:4])[0] != 196608:
            connection.sendall(b"N")
        parameters = (b"server_version\x009.6.24\x00", b"client_encoding\x00UTF8\x00", b"DateStyle\x00ISO, MDY\x00")
        answers = [(b"R", struct.pack("!I", 0)), *((b"S", text) for text in parameters), (b"Z", b"I")]
        connection.sendall(b"".join(kind + struct.pack("!I", len(body) + 4) + body for kind, body in answers))
        connection.recv(1000)  # the client goes away

    @staticmethod
    def _message(connection: socket.socket) -> bytes:
        (length,) = struct.unpack("!I", connection.recv(4, socket.MSG_WAITALL))
        return connection.recv(length - 4, socket.MSG_WAITALL)


class OldRedis(socketserver.StreamRequestHandler):
    """Redis 5: answers INFO with its version and everything else with OK."""

    def handle(self) -> None:
        while header := self.rfile.readline():
            words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2).strip() for _ in range(int(header[1:]))]
            info = b"redis_version:5.0.14\r\n"
            self.wfile.write(b"$%d\r\n%s\r\n" % (len(info), info) if words[0].upper() == b"INFO" else b"+OK\r\n")


def serve(test: unittest.TestCase, handler: type[socketserver.BaseRequestHandler]) -> int:
    """Run such a server until the end of ``test``; returns its port."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    test.addCleanup(server.server_close)
    test.addCleanup(server.shutdown)
    return int(server.server_address[1])
