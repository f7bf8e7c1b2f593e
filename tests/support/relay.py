"""A connection that breaks: `python relay.py PORT LIMIT` passes so many bytes towards the board, then ends."""

import os
import socket
import sys
import threading
import time


def receive(server: socket.socket) -> None:
    while data := server.recv(65536):
        os.write(1, data)
    os._exit(0)


def main() -> None:
    server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    left = int(sys.argv[2])
    threading.Thread(target=receive, args=(server,), daemon=True).start()
    while left > 0 and (data := os.read(0, min(65536, left))):
        server.sendall(data)
        left -= len(data)
    time.sleep(0.3)  # what was sent arrives
    os._exit(1)


main()
