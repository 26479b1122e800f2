# A keeper of the zoo in Python: what its standard library makes. See mod.rs for the lines and keeper.c for the rest.
#
#     keeper SPECIES DIRECTORY PREFIX SEED

import ctypes
import fcntl
import mmap
import multiprocessing
import os
import signal
import socket
import sys
import time
from multiprocessing import shared_memory

species, directory, prefix, seed = sys.argv[1:4] + [int(sys.argv[4])]


def say(*words):
    os.write(1, ("\t".join(map(str, words)) + "\n").encode())


def identity(fd):
    status = os.fstat(fd)
    return [f"device={status.st_dev}", f"inode={status.st_ino}"]


def hold(label, fd, access):
    say("hold", label, os.getpid(), "fd", fd, access)


def hold_map(label, access):
    say("hold", label, os.getpid(), "map", access)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def hold_all(label, like, access):
    """The library keeps duplicates of its own (a mapping does) and does not tell their numbers."""
    identity = os.fstat(like)
    for fd in range(256):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (identity.st_dev, identity.st_ino):
            hold(label, fd, access)


def child(part):
    told = os.pipe()
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        os.close(0)
        os.close(told[0])
        part()
        os.close(told[1])
        while True:
            time.sleep(1000)
    os.close(told[1])
    os.read(told[0], 1)
    os.close(told[0])
    return pid


def pipe_of_multiprocessing():
    reader, writer = multiprocessing.Pipe(duplex=False)
    payload = b"x" * (seed % 4096)
    writer.send_bytes(payload)

    def part():
        writer.close()
        hold("pipe", reader.fileno(), "r")

    say("object", "pipe", "pipe", *identity(writer.fileno()), f"used={len(payload) + 4}", "unit=bytes")
    child(part)
    reader.close()
    hold("pipe", writer.fileno(), "w")
    globals()["kept"] = writer


def duplex_pipe_of_multiprocessing():
    ours, theirs = multiprocessing.Pipe()

    def part():
        ours.close()
        hold("theirs", theirs.fileno(), "rw")

    say("object", "ours", "unix", *identity(ours.fileno()))
    say("object", "theirs", "unix", *identity(theirs.fileno()))
    child(part)
    theirs.close()
    hold("ours", ours.fileno(), "rw")
    say("link", "ours", "theirs", "peer")
    globals()["kept"] = ours


def shared_memory_of_multiprocessing():
    # The library's own tracker process would unlink it at our end, which is for the test to do.
    from multiprocessing import resource_tracker

    resource_tracker.register = lambda *_: None
    size = 4096 * (1 + seed % 7)
    name = f"{prefix}-psm"
    memory = shared_memory.SharedMemory(name=name, create=True, size=size)

    def part():
        again = shared_memory.SharedMemory(name=name)
        globals()["kept"] = again
        hold_all("memory", again._fd, "rw")
        hold_map("memory", "rw")

    say("object", "memory", "shm", *identity(memory._fd), f"name=/{name}", f"size={size}")
    child(part)
    hold_all("memory", memory._fd, "rw")
    hold_map("memory", "rw")
    globals()["kept"] = memory


def tcp(family, address):
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen(3)
    port = listener.getsockname()[1]

    def part():
        listener.close()
        client = socket.socket(family)
        client.connect((address, port))
        globals()["kept"] = client
        say("object", "client", "tcp", *identity(client.fileno()), f"remote-port={port}")
        hold("client", client.fileno(), "rw")

    child(part)
    server, _ = listener.accept()
    say("object", "listener", "tcp", *identity(listener.fileno()), f"local-port={port}", "state=listening")
    hold("listener", listener.fileno(), "rw")
    say("object", "server", "tcp", *identity(server.fileno()), f"local-port={port}")
    hold("server", server.fileno(), "rw")
    say("link", "server", "client", "peer")
    globals()["kept"] = listener, server


def udp():
    receiver = socket.socket(type=socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(type=socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    for label, each in (("receiver", receiver), ("sender", sender)):
        say("object", label, "udp", *identity(each.fileno()), f"local-port={each.getsockname()[1]}")
        hold(label, each.fileno(), "rw")
    say("link", "sender", "receiver", "sends-to")
    globals()["kept"] = receiver, sender


def mapped_file():
    path = os.path.join(directory, "mapped")
    with open(path, "w+b") as file:
        file.truncate(8192)
        memory = mmap.mmap(file.fileno(), 8192)
        say("object", "file", "file", *identity(file.fileno()), f"name={path}", "size=8192")
    # The module keeps a descriptor of its own beside the mapping, which holds nothing that the mapping does not.
    child(lambda: hold_map("file", "rw"))
    hold_map("file", "rw")
    globals()["kept"] = memory


def record_lock():
    file = open(os.path.join(directory, "locked"), "w")
    fcntl.lockf(file, fcntl.LOCK_EX, 1 + seed % 9, 100)
    say("object", "file", "file", *identity(file.fileno()), f"name={file.name}")
    say("lock", "file", os.getpid(), "posix", "held", 100, 100 + seed % 9)
    globals()["kept"] = file


die_with_parent()
{
    "python-pipe": pipe_of_multiprocessing,
    "python-duplex-pipe": duplex_pipe_of_multiprocessing,
    "python-shared-memory": shared_memory_of_multiprocessing,
    "tcp": lambda: tcp(socket.AF_INET, "127.0.0.1"),
    "tcp6": lambda: tcp(socket.AF_INET6, "::1"),
    "udp": udp,
    "mapped-file": mapped_file,
    "record-lock": record_lock,
}[species]()
say("ready")
os.read(0, 1)
