from multiprocessing.connection import Listener, Client
import threading
l = Listener(("127.0.0.1", 0), authkey=b"k")
t = threading.Thread(target=lambda: l.accept().send("hello")); t.start()
print(Client(l.address, authkey=b"k").recv()); t.join()
