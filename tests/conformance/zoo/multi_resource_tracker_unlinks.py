from multiprocessing import shared_memory, resource_tracker
s = shared_memory.SharedMemory(create=True, size=10); s.close(); s.unlink(); print("unlinked")
