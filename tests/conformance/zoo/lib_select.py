import select, os
r, w = os.pipe(); e = select.epoll(); e.register(r); os.write(w, b"x"); print(e.poll(1), e.fileno())
