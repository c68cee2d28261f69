"""A service with a bug: 23 clients have closed, and it has not."""

from box import PYTHON

LEAK = 23
PROGRAM = f"""import signal, socket
open("/proc/self/comm", "w").write("leaking")
listener = socket.create_server(("127.0.0.1", 7001), backlog=64)
clients = [socket.create_connection(("127.0.0.1", 7001)) for _ in range({LEAK})]
served = [listener.accept()[0] for _ in clients]
for client in clients:
    client.close()
for connection in served:
    connection.recv(1)
print("leaking", flush=True)
signal.pause()
"""
UNIT = f"""
[Service]
ExecStart={PYTHON} /srv/leaking.py
User=daemon
"""
FILES = {"/srv/leaking.py": PROGRAM, "/etc/systemd/system/leaking.service": UNIT}
