# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starting, finding and ending the embedded cluster's server process."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from dataclasses import asdict

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.folder import FILES, Folder, birth_of

START_WITHIN = 20.0  # real seconds
STOP_WITHIN = 10.0
KEEP_ALIVE = 3600


class StartFailed(LiveMigrationError):
    """The server did not come up."""


def start(path, options):
    """Make sure that a server runs for this folder; returns its connection (dict) with ``changed``.

    ``notes`` are sentences about objects that could not be loaded, when there were any.

    :param options: see :class:`~.assembly.Options`.
    :raises StartFailed: with the end of the server's log; nothing is left running.
    """
    folder = Folder(path)
    folder.make()
    with folder.locked():
        said = folder.running()
        if said:
            return dict(_connection(said, _differences(said, options)), changed=False)
        folder.clear(FILES[:-1])
        return dict(_connection(_launch(folder, options)), changed=True)


def stop(path):
    """End the folder's server, if there is one; returns ``{"changed": bool, "state": "stopped"}``."""
    folder = Folder(path)
    if not folder.ours():
        return {"changed": False, "state": "stopped"}
    with folder.locked():
        said = folder.running()
        if said:
            _end(said["pid"], said["born"])
        folder.clear()
        return {"changed": bool(said), "state": "stopped"}


def absent(path):
    """End the server and remove its files, and the folder when nothing else is in it."""
    folder = Folder(path)
    if not folder.ours():
        return {"changed": False, "state": "absent"}
    stop(path)
    folder.clear(FILES)
    if os.listdir(folder.path):
        raise LiveMigrationError("The folder %s holds files that are not the rehearsal's." % folder.path,
                                 "They were left in place; remove them yourself.")
    shutil.rmtree(folder.path)
    return {"changed": True, "state": "absent"}


def status(path):
    """``{"state": "started"|"stopped", ...connection}``, changing nothing."""
    said = Folder(path).running()
    return dict(_connection(said), state="started") if said else {"state": "stopped", "changed": False}


def _connection(said, more=()):
    shown = {key: said[key] for key in ("host", "api_key", "ca_cert", "kubeconfig", "pid")}
    notes = list(said.get("notes") or ()) + list(more)
    return dict(shown, changed=False, **({"notes": notes} if notes else {}))


def _differences(said, options):
    """A sentence for each option that a running server was started with differently."""
    for name, wanted in json.loads(json.dumps(asdict(options))).items():
        had = said.get("options", {}).get(name, wanted)
        if had != wanted:
            yield "The cluster that runs here was started with %s=%s, not %s: stop it first to change that." % (
                name, had, wanted)


# -- the parent ------------------------------------------------------------

def _launch(folder, options):
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _detach(folder, options, writing)
    os.close(writing)
    os.waitpid(child, 0)
    told = _read_until(reading, time.monotonic() + START_WITHIN)
    try:
        said = json.loads(told.splitlines()[-1])
    except (ValueError, IndexError):
        said = {"error": folder.last_words() or "it said nothing"}
    if "host" in said and _answers(said):
        return said
    _give_up(told)
    why = said.get("error") or "it does not answer after %d s; its last words: %s" % (START_WITHIN, folder.last_words())
    raise StartFailed("The rehearsal cluster did not start: %s." % why.rstrip(".").replace("\n", " "),
                      "The whole log is in %s." % folder.file("server.log"))


def _read_until(handle, deadline):
    """Lines of the child until it is ready, has failed, or the time is over (bytes)."""
    told = b""
    with os.fdopen(handle, "rb", buffering=0) as stream:
        while time.monotonic() < deadline:
            readable = select.select([stream], [], [], deadline - time.monotonic())[0]
            part = stream.read(65536) if readable else b""
            told += part
            if not part or told.count(b"\n") >= 2:
                break
    return told


def _give_up(told):
    """End a child that said who it is but not that it is ready."""
    try:
        first = json.loads(told.splitlines()[0])
        _end(first["pid"], first["born"])
    except (ValueError, IndexError, KeyError):
        pass


def _answers(said):
    """Whether /readyz answers 200 over TLS."""
    import http.client
    import ssl

    host, port = said["host"].rpartition("/")[2].split(":")
    connection = http.client.HTTPSConnection(
        host, int(port), timeout=START_WITHIN, context=ssl.create_default_context(cafile=said["ca_cert"]))
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end(pid, born):
    """SIGTERM, then SIGKILL, to exactly this process."""
    for number, patience in ((signal.SIGTERM, STOP_WITHIN), (signal.SIGKILL, STOP_WITHIN)):
        deadline = time.monotonic() + patience
        try:
            if birth_of(pid) == born:
                os.kill(pid, number)
        except ProcessLookupError:
            return
        while birth_of(pid) == born and time.monotonic() < deadline:
            time.sleep(0.02)
        if birth_of(pid) != born:
            return
    raise LiveMigrationError("The rehearsal server (pid %d) does not end." % pid, "End it by hand.")


# -- the child -------------------------------------------------------------

def _detach(folder, options, report):
    """Become a process of its own (never returns): own session, no terminal, nothing inherited but ``report``."""
    code = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.umask(0o077)
        os.chdir("/")
        log = os.open(folder.file("server.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for handle, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(handle, target)
        os.dup2(report, 3)
        os.closerange(4, 65536)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", buffering=1, closefd=False)
        code = _child(folder, options, 3)
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)


def _child(folder, options, report):
    """Run the server until its end; tells ``report`` one JSON line when it exists and one when it is ready (or not)."""
    who = {"pid": os.getpid(), "born": birth_of(os.getpid())}
    _tell(report, who)
    gc.disable()  # nothing of what is loaded becomes garbage
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        served = _prepare(folder, options, who)
    except LiveMigrationError as exc:
        print(exc)
        _tell(report, {"error": str(exc)})
        return 1
    except Exception as exc:  # pylint: disable=broad-except
        traceback.print_exc()
        _tell(report, {"error": "%s: %s" % (type(exc).__name__, exc)})
        return 1

    def ready():
        gc.collect()
        gc.freeze()  # what was loaded stays: do not look through it again and again
        gc.enable()
        folder.write(served.said)
        folder.write_token(served.said["api_key"])
        _tell(report, served.said)
        os.close(report)

    served.run(ready)
    if (folder.running() or {}).get("pid") in (None, who["pid"]):
        folder.clear()
    return 0


def _tell(handle, said):
    os.write(handle, (json.dumps(said) + "\n").encode())


def _prepare(folder, options, who):
    from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import assembly, tls

    app = assembly.build(options)
    # with the protocol named the event loop switches Nagle's algorithm off: 40 ms an answer
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    authority, certificate, key = tls.write(folder.path)
    said = dict(
        who, host="https://127.0.0.1:%d" % listener.getsockname()[1], api_key=app.access.token, ca_cert=authority,
        kubeconfig=folder.file("kubeconfig"), notes=app.notes, options=asdict(options),
    )

    def new_token(token):
        said["api_key"] = token
        folder.write(said)
        if app.token_file_of is None:
            folder.write_token(token)

    app.on_new_token = new_token
    app.on_token_file = folder.write_token
    return _Served(app, listener, certificate, key, options, said, folder)


class _Served:
    """The application in its HTTP server."""

    def __init__(self, app, listener, certificate, key, options, said, folder):
        import uvicorn

        self.app = app
        self.said = said
        self._folder = folder
        self._idle = options.idle
        self._end = None
        self._listener = listener
        self._server = uvicorn.Server(uvicorn.Config(
            app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
            ssl_certfile=certificate, ssl_keyfile=key, server_header=False, timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=2, h11_max_incomplete_event_size=1 << 20,
        ))

    def run(self, ready):
        """Serve until SIGTERM or until nobody asked for long; ``ready()`` is called once it answers."""
        for number in (signal.SIGTERM, signal.SIGINT):  # the HTTP server raises them again when it has ended
            signal.signal(number, lambda *ignored: None)
        asyncio.run(self._serve(ready))

    async def _serve(self, ready):
        loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        told = self._server.handle_exit

        def handle_exit(number, frame):
            told(number, frame)
            loop.call_soon_threadsafe(self._end.set)

        self._server.handle_exit = handle_exit
        tasks = [asyncio.ensure_future(self._idle_end()), asyncio.ensure_future(self._starting(ready)),
                 asyncio.ensure_future(self._ending())]
        if not self.app.store.clock.simulated:
            tasks.append(asyncio.ensure_future(self.app.time.run_real()))
        await self._server.serve(sockets=[self._listener])
        for task in tasks:
            task.cancel()

    async def _starting(self, ready):
        while not self._server.started:
            await asyncio.sleep(0.005)
        ready()

    async def _ending(self):
        await self._end.wait()
        for stream in list(self.app.streams):
            stream.close()
        await asyncio.sleep(0.05)  # answers under way get out; who keeps a connection open is not waited for
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    async def _idle_end(self):
        while time.monotonic() - self.app.last_request < self._idle:
            await asyncio.sleep(min(5.0, self._idle / 4 + 0.05))
            if self.app.streams and not self.app.store.clock.simulated:
                self.app.last_request = time.monotonic()  # on the real clock a watcher is a user
            if not os.path.isdir(self._folder.path):
                break  # nobody can find it any more
        print("Nobody asked for %d s, or its folder is gone: ending." % self._idle, flush=True)
        self._server.should_exit = True
        self._end.set()
