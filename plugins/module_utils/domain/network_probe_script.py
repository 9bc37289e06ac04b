# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the probe's pods run, with nothing but Python 3.6 and its standard library: iperf3 is in no image of the cluster's payload.

``serve PORT SECONDS`` answers for that long. ``measure PORT SECONDS STREAMS MTU NODE=ADDRESS ...`` prints a line of JSON for each
address and number of streams. The MTU is proven both ways by a datagram that may not be fragmented and is sent back, which needs no
raw socket and so no more rights than any pod has.
"""

from __future__ import annotations

SCRIPT = r'''
import json, os, signal, socket, sys, time

CHUNK = memoryview(bytearray(1 << 20))
DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}  # IP(V6)_MTU_DISCOVER
DO = 2  # never fragment
HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def datagrams(kind, port):
    one = socket.socket(kind, socket.SOCK_DGRAM)
    one.setsockopt(*DISCOVER[kind], DO)
    if kind == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if port:
        one.bind(("", port))
    return one


def echo(kind, port):
    one = datagrams(kind, port)
    while True:
        try:
            data, peer = one.recvfrom(70000)
            one.sendto(data, peer)
        except OSError:
            pass


def sink(connection):
    got, room = 0, bytearray(1 << 20)
    while True:
        size = connection.recv_into(room)
        if not size:
            break
        got += size
    connection.sendall(b"%d\n" % got)
    connection.close()


def serve(port, seconds):
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0) if os.getpid() == 1 else os.killpg(0, 9))
    signal.alarm(int(seconds))
    kinds = [socket.AF_INET] + ([socket.AF_INET6] if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else [])
    for kind in kinds:
        if os.fork() == 0:
            echo(kind, port)
    listeners = []
    for kind in kinds:
        one = socket.socket(kind, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(("", port))
        one.listen(64)
        listeners.append(one)
    print(json.dumps({"serving": port}), flush=True)
    for one in listeners[1:]:
        if os.fork() == 0:
            accept(one)
    accept(listeners[0])


def accept(listener):
    while True:
        connection, peer = listener.accept()
        if os.fork() == 0:
            if os.fork() == 0:
                sink(connection)
            os._exit(0)
        os.wait()
        connection.close()


def stream(address, port, seconds, out):
    try:
        one = socket.create_connection((address, port), timeout=10)
        one.settimeout(seconds + 30)
        begin = time.time()
        while time.time() < begin + seconds:
            one.sendall(CHUNK)
        one.shutdown(socket.SHUT_WR)
        got = b""
        while not got.endswith(b"\n"):
            part = one.recv(64)
            if not part:
                raise OSError("the other side closed the connection")
            got += part
        os.write(out, b"%d %f\n" % (int(got), time.time() - begin))
    except (OSError, ValueError) as exc:
        os.write(out, ("error %s\n" % str(exc)[:200].replace("\n", " ")).encode())


def throughput(address, port, seconds, streams):
    source, out = os.pipe()
    for number in range(streams):
        if os.fork() == 0:
            os.close(source)
            stream(address, port, seconds, out)
            os._exit(0)
    os.close(out)
    with os.fdopen(source) as results:
        rows = [line.split(" ", 1) for line in results.read().splitlines()]
    for number in range(streams):
        os.wait()
    errors = [rest for first, rest in rows if first == "error"]
    if errors or len(rows) != streams:
        return {"error": errors[0] if errors else "a stream ended without a word"}
    return {"bytes": sum(int(first) for first, rest in rows), "seconds": max(float(rest) for first, rest in rows)}


def whole(address, port, mtu):
    kind = family(address)
    one = datagrams(kind, 0)
    one.settimeout(2)
    data = os.urandom(mtu - HEADERS[kind])
    for attempt in range(3):
        try:
            one.sendto(data, (address, port))
            if one.recv(70000) == data:
                return {"whole": True}
        except socket.timeout:
            error = "no answer: the packet got lost on the way, there or back"
        except OSError as exc:
            error = str(exc)
            if exc.errno != 90:
                time.sleep(1)
    return {"whole": False, "error": error}


def measure(port, seconds, streams, mtu, targets):
    for target in targets:
        node, address = target.split("=", 1)
        print(json.dumps(dict(whole(address, port, mtu), to=node, mtu=mtu)), flush=True)
        for number in streams:
            print(json.dumps(dict(throughput(address, port, seconds, number), to=node, streams=number)), flush=True)
    print(json.dumps({"end": True}), flush=True)


if os.getpid() not in (1, os.getpgrp()):
    os.setpgrp()
if sys.argv[1] == "serve":
    serve(int(sys.argv[2]), float(sys.argv[3]))
else:
    measure(int(sys.argv[2]), float(sys.argv[3]), [int(one) for one in sys.argv[4].split(",")], int(sys.argv[5]), sys.argv[6:])
'''
