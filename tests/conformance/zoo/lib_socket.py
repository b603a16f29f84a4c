import socket, socketserver, threading
s = socket.create_server(("127.0.0.1", 0)); print(s.fileno(), s.get_inheritable())
c = socket.create_connection(s.getsockname()); a, _ = s.accept(); c.sendall(b"x"); print(a.recv(1))
