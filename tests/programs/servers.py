"""Servers on sockets in the file system, and what multiprocessing makes of them."""
import multiprocessing
import os
import socket
import socketserver
import tempfile
import threading
from multiprocessing import shared_memory


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())


def by_socket():
    path = os.path.join(tempfile.mkdtemp(dir="/root"), "socket")
    with socketserver.UnixStreamServer(path, Echo) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"hello\n")
            print(client.makefile().readline(), end="")


def add(numbers, lock, value):
    with lock:
        numbers.append(value)


def by_manager():
    with multiprocessing.Manager() as manager:
        numbers, lock = manager.list(), manager.Lock()
        workers = [multiprocessing.Process(target=add, args=(numbers, lock, i)) for i in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(sorted(numbers))


def by_memory():
    memory = shared_memory.SharedMemory(create=True, size=4096)
    memory.buf[:4] = b"text"
    other = shared_memory.SharedMemory(name=memory.name)
    print(bytes(other.buf[:4]))
    other.close()
    memory.close()
    memory.unlink()


if __name__ == "__main__":
    by_socket()
    by_manager()
    by_memory()
