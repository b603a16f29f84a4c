from multiprocessing import shared_memory
s = shared_memory.SharedMemory(create=True, size=10)
s.buf[:2] = b"ab"; print(bytes(s.buf[:2]))
s.close()
